import java.sql.DriverManager;
import java.util.Properties;

/** DBeaver's driver: connects to args[0] with the properties that follow as name=value, and says who it is there. */
public class Connect {
  public static void main(String[] args) throws Exception {
    Properties properties = new Properties();
    for (int index = 1; index < args.length; index++) {
      String[] pair = args[index].split("=", 2);
      properties.setProperty(pair[0], pair[1]);
    }
    try (var connection = DriverManager.getConnection(args[0], properties);
        var statement = connection.prepareStatement("select current_user, ?::int + 1")) {
      statement.setInt(1, 41);
      var rows = statement.executeQuery();
      rows.next();
      System.out.println(rows.getString(1) + " " + rows.getInt(2));
    } catch (java.sql.SQLException refused) {
      System.err.println(refused.getSQLState() + " " + refused.getMessage());
      System.exit(1);
    }
  }
}

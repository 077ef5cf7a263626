"""psycopg: connects with the connection string of its argument, and says who it is there."""

import sys

import psycopg2

with psycopg2.connect(sys.argv[1]) as connection, connection.cursor() as cursor:
    cursor.execute("select current_user, %s + 1", (41,))
    print(*cursor.fetchone())

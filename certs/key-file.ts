/** Files of keys: 0600, written whole or not at all, refused if others may read them. */
export {
  createPrivateFile,
  readPrivateFile,
  writePrivateFile,
} from '../protocols/kit/private-file.ts'

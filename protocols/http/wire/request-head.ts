/** All lines of the head of a request together, in every version; each resource has a limit of its own below this. Bytes. */
export const requestHeadBytesMax = 264 * 1024
/** Fields of the head of a request. */
export const requestFieldsMax = 256

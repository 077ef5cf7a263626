/** Where a browser comes back to at an app's host, with a code of control's: control sends it there, and the proxy serves it. */
export const appFinishPath = '/.sallyport/finish'

'use strict'
// Loaded with --require before the first TypeScript file, so it must run on any Node: an old one cannot even
// load what would explain the matter.
const major = Number(process.versions.node.split('.')[0])
if (major < 24) {
  process.stderr.write(
    `Sallyport runs on Node 24 or later; this is Node ${process.versions.node}.\n` +
      'npm ci brings a Node 24 for Linux on x64 and arm64, and "npm run …" and "npm test" use it:\n' +
      '  npm ci && npm test\n' +
      'If you did that, optional packages were left out (look for "omit" in "npm config list"), or there is\n' +
      'none for this platform: then install Node 24 yourself, from https://nodejs.org.\n',
  )
  process.exit(1)
}

// What the API reference is made of: both entry points of the package.
export * from '../lib/index.ts'
export * from '../lib/server/index.ts'

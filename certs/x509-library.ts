/** @peculiar/x509, whose container looks for the metadata functions on Reflect when it is imported: they come first. */
import 'reflect-metadata'
export * from '@peculiar/x509'

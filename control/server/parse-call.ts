import type { FastifyRequest } from 'fastify'
import type { z } from 'zod'
import { InvalidInput, type Problem } from '../api/problem.ts'
import type { Route, RouteName } from '../api/routes.ts'
import type { ParsedCall } from './handlers.ts'

const issuesMax = 50

/** Validates every part of a request against its route. Throws `request-invalid` with where and what. */
export function parseCall(route: Route, request: FastifyRequest): ParsedCall<RouteName> {
  const issues: NonNullable<Problem['issues']> = []
  const part = (name: 'params' | 'query' | 'body', shape: z.ZodType | undefined): unknown => {
    if (shape === undefined) return undefined
    const parsed = shape.safeParse(request[name])
    if (parsed.success) return parsed.data
    for (const issue of parsed.error.issues) {
      issues.push({ path: [name, ...issue.path.map(String)].join('.'), message: issue.message })
    }
    return undefined
  }
  const call = {
    params: part('params', route.params),
    query: part('query', route.query),
    body: part('body', route.body),
    binaryBody:
      route.binaryBody !== undefined && Buffer.isBuffer(request.body)
        ? request.body
        : Buffer.alloc(0),
    header(name: string): string | undefined {
      const value = request.headers[name]
      return Array.isArray(value) ? value.at(-1) : value
    },
  }
  if (issues.length > 0) {
    const detail = `the request does not fit: ${issues[0]!.path}: ${issues[0]!.message}`
    throw new InvalidInput('request-invalid', detail, issues.slice(0, issuesMax))
  }
  return call as unknown as ParsedCall<RouteName>
}

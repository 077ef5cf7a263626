/** OpenAPI 3.1 out of the routes table: there is nothing else to keep in step. */
import { z } from 'zod'
import { problem } from '../api/problem.ts'
import { checkpointHeader, routes, type Route } from '../api/routes.ts'

type Json = Record<string, unknown>

/** Schemas of JSON Schema 2020-12, which OpenAPI 3.1 uses as they are. */
function schemaOf(shape: z.ZodType, io: 'input' | 'output'): Json {
  const { $schema: _, ...schema } = z.toJSONSchema(shape, { io, unrepresentable: 'any' })
  return schema
}

export function openApiDocument(version: string): Json {
  const paths: Record<string, Json> = {}
  for (const [name, route] of Object.entries<Route>(routes)) {
    paths[route.path] ??= {}
    paths[route.path]![route.method.toLowerCase()] = operationOf(name, route)
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Sallyport control',
      version,
      description:
        'Callers show a client certificate. Times are Unix milliseconds of control’s clock. Errors are problem documents (RFC 9457) with stable codes.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    security: [{ certificate: [] }],
    paths,
    components: {
      securitySchemes: {
        certificate: {
          type: 'mutualTLS',
          description: 'A client certificate that control issued to a person or a proxy.',
        },
      },
      schemas: { Problem: schemaOf(problem, 'output') },
    },
  }
}

function operationOf(name: string, route: Route): Json {
  const parameters = [
    ...parametersOf('path', route.params),
    ...parametersOf('query', route.query),
    ...(name === 'proxySegments' ? [checkpointParameter] : []),
  ]
  const body = bodyOf(route)
  return {
    operationId: name,
    summary: route.summary,
    description: `For: ${typeof route.access === 'string' ? route.access : route.access.join(', ')}.`,
    ...(route.access === 'anyone' ? { security: [] } : {}),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body === undefined ? {} : { requestBody: { required: true, content: body } }),
    responses: {
      200: {
        description: 'Done',
        content: { 'application/json': { schema: schemaOf(route.response, 'output') } },
      },
      default: {
        description: 'Refused or failed',
        content: {
          'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } },
        },
      },
    },
  }
}

const checkpointParameter: Json = {
  name: checkpointHeader,
  in: 'header',
  required: true,
  description: 'The head of the chain, signed by the proxy: a compact JWS.',
  schema: { type: 'string', maxLength: 8_192 },
}

function bodyOf(route: Route): Json | undefined {
  if (route.binaryBody !== undefined) {
    const { contentType, bytesMax } = route.binaryBody
    return { [contentType]: { schema: { type: 'string', format: 'binary', maxLength: bytesMax } } }
  }
  if (route.body === undefined) return undefined
  return { 'application/json': { schema: schemaOf(route.body, 'input') } }
}

function parametersOf(place: 'path' | 'query', shape: z.ZodType | undefined): Json[] {
  if (shape === undefined) return []
  const { properties = {}, required = [] } = schemaOf(shape, 'input') as {
    properties?: Record<string, Json>
    required?: string[]
  }
  return Object.entries(properties).map(([name, schema]) => ({
    name,
    in: place,
    required: place === 'path' || required.includes(name),
    schema,
  }))
}

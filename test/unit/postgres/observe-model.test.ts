/** Random pipelines, cut into random pieces, against the model server. */
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { client, wireUp } from './messages.ts'
import { ModelServer } from './model.ts'

const runs = process.env['SALLYPORT_LONG'] === '1' ? 20_000 : 400

type Step =
  | { do: 'query' | 'parse'; text: string; name: string }
  | { do: 'bind' | 'execute' | 'describe' | 'close'; name: string; other: string; rows: number }
  | { do: 'sync' | 'flush' | 'copyData' | 'copyDone' | 'copyFail' }

const name = fc.constantFrom('', '', 'a', 'b')
const words = fc.constantFrom(
  ...['ok', 'ok', 'rows 3', 'bad', 'unbindable', 'fails', 'copyin', 'copyout', 'begin', 'commit'],
  ...['deallocate all', 'deallocate a', 'prepare a ok', 'empty'],
)
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 2, arbitrary: fc.record({ do: fc.constant('query' as const), text: words, name }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('parse' as const), text: words, name }) },
  {
    weight: 14,
    arbitrary: fc.record({
      do: fc.constantFrom('bind' as const, 'bind', 'execute', 'execute', 'describe', 'close'),
      name,
      other: name,
      rows: fc.constantFrom(0, 0, 1, 2),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constantFrom(
        'sync' as const,
        'sync',
        'sync',
        'flush',
        'copyData',
        'copyDone',
        'copyFail',
      ),
    }),
  },
)

function bytesOf(taken: Step, index: number): Buffer {
  switch (taken.do) {
    case 'query':
      return client.query(`${taken.text} #${index}`)
    case 'parse':
      return client.parse(taken.name, `${taken.text} #${index}`)
    case 'bind':
      return client.bind(taken.name, taken.other, [`p${index}`])
    case 'execute':
      return client.execute(taken.name, taken.rows)
    case 'describe':
      return client.describe(taken.rows === 0 ? 'S' : 'P', taken.name)
    case 'close':
      return client.close(taken.rows === 0 ? 'S' : 'P', taken.name)
    case 'copyData':
      return client.copyData('row')
    case 'copyFail':
      return client.copyFail('why')
    default:
      return client[taken.do]()
  }
}

test('every statement once, with the text that ran, whatever the pipeline and the chunking', () => {
  fc.assert(
    fc.property(
      fc.array(step, { minLength: 1, maxLength: 60 }),
      fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 40 }),
      fc.array(fc.boolean(), { minLength: 1, maxLength: 40 }),
      (steps, sizes, turns) => {
        const wire = wireUp()
        const model = new ModelServer()
        const namesInSql = steps.some(
          (taken) => 'text' in taken && /^(?:prepare|deallocate)/.test(taken.text),
        )
        // In the end whatever copies is ended, and whatever waits is synced.
        const stream = Buffer.concat([
          ...steps.map((taken, index) => bytesOf(taken, index)),
          ...[client.copyFail('end'), client.sync(), client.sync(), client.sync()],
        ])
        let sent = 0
        let delivered = 0
        let pieces = 0
        const answers: Buffer[] = []
        const size = (): number => sizes[pieces++ % sizes.length]!
        const send = (): void => {
          const end = Math.min(stream.length, sent + size())
          wire.toServer(stream.subarray(sent, end))
          sent = end
        }
        const answer = (): void => {
          for (; delivered < wire.upstream.length; delivered++) {
            answers.push(...model.push(wire.upstream[delivered]!))
          }
          const whole = Buffer.concat(answers.splice(0))
          const end = Math.min(whole.length, size() * 3)
          if (end > 0) wire.toClient(whole.subarray(0, end))
          if (end < whole.length) answers.push(whole.subarray(end))
        }
        for (let turn = 0; sent < stream.length; turn++) {
          if (turns[turn % turns.length]!) send()
          else answer()
          if (turn > 20_000) throw new Error('it does not end')
          if (turns.every((sends) => !sends)) send()
        }
        for (let round = 0; round < 20_000; round++) {
          answer()
          if (answers.length === 0 && delivered === wire.upstream.length && !wire.stalled) break
        }
        expect(wire.stalled).toBe(false)
        expect(wire.observer.idle).toBe(true)
        expect(Buffer.concat(wire.upstream)).toEqual(stream)
        wire.observer.finish()
        expect(wire.settledOnce()).toBe(true)

        const statements = wire.records.filter(({ kind }) => kind === 'statement')
        expect(statements).toHaveLength(model.truths.length)
        for (const [index, truth] of model.truths.entries()) {
          const record = statements[index]!
          const [outcome] = record.outcomes
          if (truth.status === 'skipped') {
            expect(['skipped', 'error']).toContain(outcome!.status)
            continue
          }
          // Only where SQL itself prepared or deallocated names may a text be missing; then the name is there.
          if (truth.text !== undefined && (record.text !== '' || !namesInSql)) {
            expect(record.text).toBe(truth.text)
          } else if (truth.text !== undefined) {
            expect(record.preparedName + (record.target ?? '')).not.toBe('')
          }
          if (truth.text !== undefined) {
            expect(record.parameters.map((p) => (p.form === 'text' ? p.value : p.form))).toEqual(
              truth.parameters,
            )
          }
          expect({ status: outcome!.status, tag: outcome!.tag, error: outcome!.errorText }).toEqual(
            {
              status: truth.status,
              tag: truth.tag,
              error: truth.error,
            },
          )
        }
        const errors = wire.records.flatMap(({ outcomes }) => outcomes.map((o) => o.errorText))
        for (const error of model.errors) {
          expect(errors.filter((text) => text === error)).toHaveLength(1)
        }
      },
    ),
    { numRuns: runs },
  )
}, 600_000)

import { expect, test } from 'vitest'
import { shareChecks, type Checks } from '../../../control/server/readiness.ts'

test('however many ask, the store is asked once at a time', async () => {
  const looks: PromiseWithResolvers<Checks>[] = []
  const ask = shareChecks(() => {
    const look = Promise.withResolvers<Checks>()
    looks.push(look)
    return look.promise
  })
  const asked = Array.from({ length: 100 }, ask)
  expect(looks).toHaveLength(1)
  const checks = { store: { ok: true, detail: 'answers' } }
  looks[0]!.resolve(checks)
  for (const answer of await Promise.all(asked)) expect(answer).toBe(checks)

  const failing = ask()
  expect(looks).toHaveLength(2)
  looks[1]!.reject(new Error('gone'))
  await expect(failing).rejects.toThrow('gone')
  void ask()
  expect(looks).toHaveLength(3)
})

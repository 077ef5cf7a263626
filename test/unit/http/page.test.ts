import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { pagePolicy, renderPage } from '../../../protocols/http/downstream/page.ts'

test('nothing of a page is markup but its own', () => {
  const nasty = `<script>"a" & 'b'</script>`
  const html = renderPage({
    ...{ title: nasty, lead: nasty, hint: nasty, command: nasty, code: nasty },
    action: { label: nasty, href: `/"onclick="x` },
  })
  expect(html).not.toContain('<script')
  expect(html).not.toContain(`"onclick`)
  expect(html).not.toContain(`'b'`)
})

test('the only style that counts is the page’s own', () => {
  const html = renderPage({ title: 'a', lead: 'b', command: 'sally resources' })
  const style = /<style>([^]*?)<\/style>/.exec(html)![1]!
  const digest = createHash('sha256').update(style).digest('base64')
  expect(pagePolicy()).toContain(`style-src 'sha256-${digest}'`)
  expect(html).not.toMatch(/ style=/)
  expect(pagePolicy()).toContain("default-src 'none'")
  expect(pagePolicy()).toContain("frame-ancestors 'none'")
  expect(pagePolicy(['https://control.test'])).toContain("form-action 'self' https://control.test")
})

test('a command is shown as it is typed, and copied whole', () => {
  const html = renderPage({
    ...{ title: 'a', lead: 'b', command: 'sally request wiki --level write --wait' },
  })
  const shown = /<pre>(.*)<\/pre>/.exec(html)![1]!
  expect(shown.replaceAll(/<\/?span>/g, '')).toBe('sally request wiki --level write --wait')
})

test('what posts is a form, what leads on a link', () => {
  const action = { label: 'Go', href: '/there' }
  expect(renderPage({ title: 'a', lead: 'b', action })).toContain('<a class="do" href="/there">')
  const posting = renderPage({ title: 'a', lead: 'b', action: { ...action, posts: true } })
  expect(posting).toContain('<form method="post" action="/there">')
})

/** Debian's Chromium, as somebody uses it who trusts our authorities: they are in its own store, and nothing is switched off. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium, type BrowserContext } from 'playwright-core'

export interface TestBrowser {
  /** Cookies and pages of one person. */
  readonly context: BrowserContext
  close(): Promise<void>
}

/** `authorityFiles`: PEM, one authority in each. */
export async function openChromium(authorityFiles: readonly string[]): Promise<TestBrowser> {
  const home = mkdtempSync(join(tmpdir(), 'sallyport-chromium-'))
  const store = join(home, '.pki', 'nssdb')
  mkdirSync(store, { recursive: true })
  const inStore = (...parameters: string[]): void =>
    void execFileSync('certutil', [...parameters, '-d', `sql:${store}`], { stdio: 'pipe' })
  inStore('-N', '--empty-password')
  authorityFiles.forEach((file, index) => {
    inStore('-A', '-t', 'C,,', '-n', `authority ${index}`, '-i', file)
  })
  // What the profile would ask on a first start.
  writeFileSync(join(home, 'First Run'), '')
  const context = await chromium.launchPersistentContext(join(home, 'profile'), {
    executablePath: '/usr/bin/chromium',
    headless: true,
    // Of root's tests in a container; what is tested is not Chromium's own walls.
    args: [...(process.getuid?.() === 0 ? ['--no-sandbox'] : []), '--disable-gpu'],
    env: { ...process.env, HOME: home },
    viewport: { width: 1_100, height: 800 },
  })
  return {
    context,
    async close() {
      await context.close()
      rmSync(home, { recursive: true, force: true })
    },
  }
}

import { formatDuration } from '../api/duration.ts'
import { appOrigin } from '../apps/app-url.ts'
import type { ListedApp } from '../apps/list-apps.ts'
import type { ConsolePerson } from '../login/console-session.ts'
import { markup, type Html } from './html.ts'
import type { PageParts } from './layout.ts'

export function welcomePage(): PageParts {
  const title = 'Sallyport'
  const body = markup`<h1>Internal apps, for as long as you need them</h1>
    <p class="lead">
      Sign in with your organisation’s account to see what you can open, and to ask for what you
      need.
    </p>
    <p><a class="button" href="/sign-in?next=%2F">Sign in</a></p>
    <h2>At a terminal</h2>
    <p>
      Databases, servers and APIs are reached with <code>sally</code> and the clients you already
      have:
    </p>
    <pre>
sally login
sally resources</pre>`
  return { title, body, person: undefined }
}

export function homePage(
  person: ConsolePerson,
  apps: readonly ListedApp[],
  { atMs, port }: { atMs: number; port: number },
): PageParts {
  const open = apps.filter(({ grants }) => grants.length > 0)
  const more = apps.filter(({ grants }) => grants.length === 0)
  const title = 'Your apps'
  const body = markup`<h1>${person.name === '' ? 'Your apps' : `Hello, ${person.name}`}</h1>
    <p class="quiet">
      Signed in as ${person.email}; it ends in ${formatDuration(person.endsAtMs - atMs)}.
    </p>
    <h2>Open now</h2>
    ${
      open.length === 0
        ? markup`<p class="card quiet">
            No app is open to you at the
            moment.${more.length === 0 ? undefined : ' Ask for one below.'}
          </p>`
        : markup`<ul class="apps">
            ${open.map((app) => openApp(app, atMs, port))}
          </ul>`
    }
    ${
      more.length === 0
        ? undefined
        : markup`<h2>You can ask for</h2>
            <ul class="apps">
              ${more.map((app) => closedApp(app, port))}
            </ul>`
    }
    ${apps.length > 0 ? undefined : nothing(person)}
    <h2>Everything else</h2>
    <p>
      Databases and servers are reached from a terminal. <code>sally resources</code> lists them,
      <code>sally why NAME</code> says who lets you in, <code>sally requests</code> shows what waits
      for a decision.
    </p>`
  return { title, body, person }
}

function openApp(app: ListedApp, atMs: number, port: number): Html {
  const levels = app.grants.map(
    ({ level, expiresAtMs }) => `${level}, ${formatDuration(expiresAtMs - atMs)} left`,
  )
  return markup`<li class="card">
    <div class="about">
      <strong>${app.name}</strong>
      <span class="tag good">${levels[0]}</span>
      ${app.asked ? markup`<span class="tag warn">more waits for a decision</span>` : undefined}
      ${about(app)}
    </div>
    <a class="button" href="${urlOf(app, port)}">Open ${app.name}</a>
  </li>`
}

function closedApp(app: ListedApp, port: number): Html {
  const state = app.asked
    ? markup`<span class="tag warn">waits for a decision</span>`
    : markup`<span class="tag">${app.levels.join(', ')}</span>`
  return markup`<li class="card">
    <div class="about"><strong>${app.name}</strong> ${state}${about(app)}</div>
    <a class="button second" href="${urlOf(app, port)}"
      >${app.asked ? 'See' : 'Ask for'} ${app.name}</a
    >
  </li>`
}

function about({ description, owner }: ListedApp): Html {
  const words = [description, owner === undefined ? undefined : `Owner: ${owner}`]
  return markup`${words.map((line) => (line === undefined ? markup`` : markup`<p class="quiet">${line}</p>`))}`
}

function nothing({ roles }: ConsolePerson): Html {
  return roles.every((role) => role === 'auditor')
    ? markup`<p>
        Auditors read what was done, with <code>sally audit</code> and <code>sally sessions</code>;
        they open no apps.
      </p>`
    : markup`<p>
        No access flow names you for an app yet. An admin can add one:
        <code>sally flows apply</code>.
      </p>`
}

function urlOf({ name, domain }: ListedApp, port: number): string {
  return `${appOrigin({ resource: name, domain, port })}/`
}

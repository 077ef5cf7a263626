// In the page that waits for a decision: looks again by itself, and changes only what changed, so that focus, selection and a screen
// reader's place stay where they are. What is not that page any more is gone on to. The page says when nothing answers.
const main = document.querySelector('main')
const { follow, everyMs } = main.dataset
const trouble = document.querySelector('#trouble')
const longestMs = 60_000
let waitMs = Number(everyMs)
let timer

function renew(old, fresh) {
  if (old.isEqualNode(fresh)) return
  const [nodes, others] = [[...old.childNodes], [...fresh.childNodes]]
  const isAlike = old.cloneNode().isEqualNode(fresh.cloneNode()) && nodes.length === others.length
  if (isAlike) nodes.forEach((node, index) => renew(node, others[index]))
  else old.replaceWith(fresh)
}

async function look() {
  clearTimeout(timer)
  try {
    const signal = AbortSignal.timeout(10_000)
    // What it leads to is only asked for by the window itself: each time it is, a code is made.
    const answer = await fetch(`${follow}&asked=1`, { redirect: 'manual', signal })
    if (answer.status === 429 || answer.status >= 500) throw new Error('not now')
    const text = await answer.text()
    const fresh = new DOMParser().parseFromString(text, 'text/html').querySelector('main')
    if (fresh?.dataset.follow !== follow) {
      location.replace(follow)
      return
    }
    trouble.replaceChildren()
    renew(main, fresh)
    waitMs = Number(everyMs)
  } catch {
    waitMs = Math.min(2 * waitMs, longestMs)
    if (!trouble.hasChildNodes()) trouble.append(trouble.dataset.words)
  }
  again()
}

function again() {
  clearTimeout(timer)
  timer = setTimeout(() => void look(), waitMs)
}

addEventListener('online', () => void look())
again()

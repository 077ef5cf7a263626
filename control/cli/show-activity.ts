/** One activity for people. What is returned is text from elsewhere: made printable by whoever shows it. */
import type { ActivityView } from '../api/shapes.ts'
import type { Style } from './paint.ts'

export function outcomeCell(activity: ActivityView): { text: string; style: Style } {
  const { outcome, recording, protocol } = activity
  if (recording !== undefined) return { text: 'shown', style: 'dim' }
  if (outcome === null) return { text: 'running', style: 'cyan' }
  // The tag of a request is the status of its answer; of a statement it says again what the statement says.
  const status = protocol === 'http' && outcome.tag !== '' ? ` ${outcome.tag}` : ''
  if (outcome.status === 'ok') return { text: `ok${status}`, style: 'green' }
  const code = outcome.errorCode === '' ? '' : ` ${outcome.errorCode}`
  return {
    text: `${outcome.status}${status}${code}`,
    style: outcome.status === 'error' ? 'red' : 'yellow',
  }
}

export function statementText({ text, textBlob }: ActivityView): string {
  return `${text}${textBlob === null ? '' : ` … (${textBlob.bytes} bytes)`}`
}

/** Of what a terminal showed, the line that was looked for, and where it is. */
export function shownText({ text, recording }: ActivityView, wanted: string): string {
  const lines = text.split('\n').filter((line) => line.trim() !== '')
  const line =
    lines.find((one) => one.toLowerCase().includes(wanted.toLowerCase())) ?? lines[0] ?? ''
  const at = ((recording?.atUs ?? 0) / 1_000_000).toFixed(1)
  return `${line.trim()} (recording ${recording?.number ?? '?'}, at ${at}s)`
}

export function parametersText({ parameters }: ActivityView): string {
  return parameters.map(showParameter).join(', ')
}

function showParameter(parameter: ActivityView['parameters'][number]): string {
  if (parameter.form === 'null') return 'NULL'
  return parameter.form === 'text' ? `'${parameter.value}'` : `\\x${parameter.hex}`
}

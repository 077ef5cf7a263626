/** One activity for people. What is returned is text from elsewhere: made printable by whoever shows it. */
import type { ActivityView } from '../api/shapes.ts'
import type { Style } from './paint.ts'

export function outcomeCell({ outcome }: ActivityView): { text: string; style: Style } {
  if (outcome === null) return { text: 'running', style: 'cyan' }
  if (outcome.status === 'ok') return { text: 'ok', style: 'green' }
  const code = outcome.errorCode === '' ? '' : ` ${outcome.errorCode}`
  return { text: `${outcome.status}${code}`, style: outcome.status === 'error' ? 'red' : 'yellow' }
}

export function statementText({ text, textBlob }: ActivityView): string {
  return `${text}${textBlob === null ? '' : ` … (${textBlob.bytes} bytes)`}`
}

export function parametersText({ parameters }: ActivityView): string {
  return parameters.map(showParameter).join(', ')
}

function showParameter(parameter: ActivityView['parameters'][number]): string {
  if (parameter.form === 'null') return 'NULL'
  return parameter.form === 'text' ? `'${parameter.value}'` : `\\x${parameter.hex}`
}

/** Pages of the development identity provider: one look, nothing loaded from anywhere. */

const style = `:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:24rem;margin:3rem auto;padding:0 1rem;color:light-dark(#222,#e8e8e6);background:light-dark(#fff,#16181b)}
label,input,button{display:block;width:100%;box-sizing:border-box;margin:.4rem 0;font:inherit}
input,button{padding:.5rem}.code{font:700 1.6rem monospace;text-align:center}.wrong{color:light-dark(#a00,#ff9e97)}
small{color:light-dark(#666,#a3a7ad)}`

/** `body` is HTML already. */
export function page(title: string, body: string): string {
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${safe(title)}</title>
<meta name="viewport" content="width=device-width"><style>${style}</style></head>
<body><h1>${safe(title)}</h1>${body}<p><small>Sallyport's development identity provider</small></p></body></html>`
}

/** A text as HTML. */
export function safe(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => `&#${character.codePointAt(0)};`)
}

/** What crosses between control's thread and the thread of an embedded database. */
export type EmbeddedCall =
  | { readonly id: number; readonly kind: 'query'; text: string; parameters: unknown[] | undefined }
  | { readonly id: number; readonly kind: 'listen'; channel: string }
  | { readonly id: number; readonly kind: 'close' }

export type EmbeddedAnswer =
  | { readonly kind: 'ready' }
  | { readonly kind: 'failed'; message: string }
  | { readonly kind: 'rows'; readonly id: number; rows: unknown[]; bytesColumns: string[] }
  | {
      readonly kind: 'error'
      readonly id: number
      message: string
      sqlState: string
      constraint: string | undefined
    }
  | { readonly kind: 'ring'; channel: string }

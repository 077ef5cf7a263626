/** What engines keep for as long as a session lives: one thing for each key. */
export interface Kept {
  keep<T extends Disposable>(key: symbol, make: () => T): T
  dispose(): void
}

export function createKept(): Kept {
  const things = new Map<symbol, Disposable>()
  return {
    keep<T extends Disposable>(key: symbol, make: () => T): T {
      let thing = things.get(key)
      if (thing === undefined) things.set(key, (thing = make()))
      return thing as T
    },
    dispose() {
      for (const thing of things.values()) thing[Symbol.dispose]()
      things.clear()
    },
  }
}

/** Where something stands in a roster; only the roster writes it. */
export interface Place<T> {
  readonly item: T
  at: number
}

/**
 * Things that come and go with each request, in no order. A `Set` would leave each of its tables that it outgrew pointing to the next, for
 * iterators that are on their way: once one of them is in V8's old generation, all that follow survive until that is collected, and with them each
 * request that they held. Here nothing points from what is gone to what came later.
 */
export class Roster<T> {
  readonly #places: Place<T>[] = []

  get size(): number {
    return this.#places.length
  }

  add(item: T): Place<T> {
    const place = { item, at: this.#places.length }
    this.#places.push(place)
    return place
  }

  /** Does nothing the second time. */
  remove(place: Place<T>): void {
    const { at } = place
    if (at < 0) return
    place.at = -1
    const last = this.#places.pop()!
    if (last === place) return
    this.#places[at] = last
    last.at = at
  }

  /** Those of now: each may go while one looks at them. */
  items(): T[] {
    return this.#places.map(({ item }) => item)
  }
}

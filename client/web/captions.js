// The text of one utterance, its words lit as they are spoken.  Knows characters and samples; knows no sound.

const element = (tag, className, text) => {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};

export class Caption {
  constructor() {
    this.element = element("article", "utterance is-live");
    this._text = element("p", "words");
    this._note = element("p", "note");
    this._rest = document.createTextNode(""); // sent, and not yet marked
    this._text.append(this._rest);
    this.element.append(this._text, this._note);
    this._cursor = 0; // code points before `_rest`
    this._words = []; // {pts, element}
    this._lit = 0;
  }

  append(text) {
    this._rest.appendData(text);
  }

  mark({ start, end, pts }) {
    if (start < this._cursor) return; // a further word of the same characters: "$5" is two
    this._advance(start - this._cursor);
    const characters = this._advance(end - start);
    const word = element("span", "word");
    characters.replaceWith(word);
    word.append(characters);
    this._cursor = end;
    this._words.push({ pts, element: word });
  }

  /** All words that have begun at `position` (samples); true where that lit a new one. */
  light(position) {
    const before = this._lit;
    while (this._lit < this._words.length && this._words[this._lit].pts <= position) {
      this._words[this._lit - 1]?.element.classList.remove("is-now");
      this._words[this._lit++].element.classList.add("is-heard", "is-now");
    }
    return this._lit !== before;
  }

  get current() {
    return this._words[this._lit - 1]?.element ?? null;
  }

  /** No more of it sounds; `whole` where it was spoken to its end. */
  finish(whole) {
    this.current?.classList.remove("is-now");
    this._words = [];
    this.element.classList.remove("is-live");
    this.element.classList.toggle("is-finished", whole);
  }

  cut({ heard, unheard }) {
    const parts = [element("span", "heard", heard)];
    const spoken = element("span", "visually-hidden", " (interrupted here; not heard:) ");
    const gap = unheard.slice(0, unheard.search(/\S|$/));
    if (unheard.trim()) parts.push(gap, element("span", "cut"), spoken, element("span", "unheard", unheard.trim()));
    this._text.replaceChildren(...parts);
    this._words = [];
    this.element.classList.remove("is-live");
    this.element.classList.add("is-cut");
  }

  note(...parts) {
    this._note.replaceChildren(...parts);
  }

  fail(sentence, action) {
    this.element.classList.remove("is-live");
    this.element.classList.add("is-failed");
    this.note(element("span", "trouble", sentence), ...(action ? [action] : []));
  }

  /** Cut `points` code points off the front of `_rest`; returns the text node that holds them. */
  _advance(points) {
    const { data } = this._rest;
    let at = 0;
    for (let i = 0; i < points && at < data.length; i++) at += data.codePointAt(at) > 0xffff ? 2 : 1;
    const taken = this._rest;
    this._rest = taken.splitText(at);
    return taken;
  }
}

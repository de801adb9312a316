/* Verdicts: what a person says of events, stored at once, and taken back.

verdictOf(event)        its verdict, or one that says nothing
new Judge(onChange)     onChange(verdicts) is called with what the store then holds
  .judge(events, change, said) -> Promise   stores `change`, such as {decision: "wrong", label: "Rain"}, as a part of each
                        event's verdict; `said` is shown with a button to undo it
  .undo() -> Promise    takes back what was done last, and was not taken back */

import { api } from "./api.js";
import { problem, toast } from "./widgets.js";

const MOST_AT_ONCE = 200; // of long notes too, no more than a request may hold
const UNDO_DEPTH = 50;

export const verdictOf = (event) => event.verdict ?? { event: event.key, decision: null, label: null, note: "", locked: false };

export class Judge {
  #onChange;
  #done = []; // [{before, said}], the newest last
  #unsay = () => {}; // takes away what was said last
  #work = Promise.resolve(); // one request after the other, in the order of what a person did

  constructor(onChange) {
    this.#onChange = onChange;
  }

  judge(events, change, said) {
    return this.#queue(async () => {
      const wanted = events.map((event) => ({ ...verdictOf(event), ...change }));
      for (const verdict of wanted) if (verdict.decision !== "wrong") verdict.label = null;
      const step = { before: [], said };
      try {
        await this.#store(wanted, step.before);
      } finally {
        if (step.before.length > 0) this.#done = [...this.#done.slice(1 - UNDO_DEPTH), step];
      }
      if (step.before.length > 0) this.#say(said, { action: { label: "Undo", onclick: () => this.undo(step) } });
    });
  }

  undo(wanted) {
    return this.#queue(async () => {
      const step = wanted ?? this.#done.at(-1);
      if (!this.#done.includes(step)) return this.#say("There is nothing to undo.");
      await this.#store(step.before, []);
      this.#done = this.#done.filter((other) => other !== step);
      this.#say(`Undone: ${step.said}`);
    });
  }

  #say(text, options) {
    this.#unsay();
    this.#unsay = toast(text, options);
  }

  #queue(work) {
    this.#work = this.#work.then(work).catch(problem);
    return this.#work;
  }

  /* Store verdicts; add to `before` those that they replace, so that what came through before an error can be undone. */
  async #store(verdicts, before) {
    for (let i = 0; i < verdicts.length; i += MOST_AT_ONCE) {
      const answer = await api.put("verdicts", { verdicts: verdicts.slice(i, i + MOST_AT_ONCE) });
      before.push(...answer.before);
      this.#onChange(answer.after);
      if (answer.unknown.length > 0) toast(`No longer in the store: ${answer.unknown.length} of the events.`, { kind: "bad" });
    }
  }
}

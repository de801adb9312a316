/* listenButton(url, name)   a small button that plays a recording, and stops it; of all of them one plays at a time
hush()                    stops what plays */

import { tool } from "./controls.js";
import { replace } from "./dom.js";
import { icon } from "./icons.js";
import { toast } from "./widgets.js";

let stop = () => {};

export const hush = () => stop();

export function listenButton(url, name) {
  const show = (verb) => {
    replace(button, icon(verb.toLowerCase(), { size: 15 }));
    button.setAttribute("aria-label", `${verb} ${name}`);
    button.title = verb;
  };

  async function toggle() {
    const was = stop;
    stop();
    if (was.button === button) return;
    const audio = new Audio(url);
    stop = Object.assign(
      () => {
        stop = () => {};
        audio.onerror = null;
        audio.pause();
        audio.removeAttribute("src");
        show("Play");
      },
      { button },
    );
    const own = stop;
    audio.onended = own;
    show("Stop");
    await audio.play().catch((error) => {
      if (stop === own) own();
      if (error.name !== "AbortError") toast("This browser cannot play the recording.", { kind: "bad" });
    });
  }

  const button = tool("play", `Play ${name}`, toggle, { class: "quiet square small" });
  show("Play");
  return button;
}

/* Small parts of several views: button(picture, text, onclick, props), tool(picture, name, onclick, props): an icon alone,
field(text, control, …more): a control with its name, eventCount(n): "1 event", "1 234 events", middleOf(event): a moment within it,
copyButton(text): a button that copies a text */

import { h } from "./dom.js";
import { count } from "./format.js";
import { icon } from "./icons.js";
import { toast } from "./widgets.js";

export const button = (picture, text, onclick, props) => h("button", { type: "button", onclick, ...props }, picture && icon(picture), text);
export const tool = (picture, name, onclick, props) => button(picture, null, onclick, { class: "quiet square", "aria-label": name, title: name, ...props });
export const field = (text, ...control) => h("label", { class: "field" }, h("span", {}, text), control);
export const eventCount = (n) => (n === 1 ? "1 event" : `${count(n)} events`);
export const middleOf = ({ at, onset, offset }) => at + Math.min(((offset ?? onset + 0.4) - onset) / 2, 5);
export const isNarrow = () => matchMedia("(max-width: 899px)").matches;

export function copyButton(text) {
  // Only a page with TLS, or of this device, may write to the clipboard.
  return button("copy", "Copy", async () => {
    const copied = await navigator.clipboard?.writeText(text).then(() => true, () => false);
    toast(copied ? "Copied." : "This browser does not let the page copy: select the lines, and copy them.");
  });
}

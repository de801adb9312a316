/* Sets the colour scheme before anything is drawn: <html data-theme="dark|light">.

A classic script, so that the page does not flash. `window.theme.choice` is "auto" (as the system has it), "light" or
"dark"; `theme.next()` changes it and remembers it. Who draws on a canvas listens to the event `themechange` of document. */
"use strict";

{
  const KEY = "htsat-edge.theme";
  const CHOICES = ["auto", "light", "dark"];
  const system = matchMedia("(prefers-color-scheme: dark)");

  const stored = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // storage is switched off: the choice lasts as long as the page
    }
  };

  const theme = {
    choice: CHOICES.includes(stored()) ? stored() : "auto",

    get isDark() {
      return this.choice === "auto" ? system.matches : this.choice === "dark";
    },

    next() {
      this.choice = CHOICES[(CHOICES.indexOf(this.choice) + 1) % CHOICES.length];
      try {
        localStorage.setItem(KEY, this.choice);
      } catch {
        // as above
      }
      this.apply();
      return this.choice;
    },

    apply() {
      document.documentElement.dataset.theme = this.isDark ? "dark" : "light";
      const colour = this.isDark ? "#0d0f14" : "#f4f5f7";
      document.querySelector("meta[name=theme-color]")?.setAttribute("content", colour);
      document.dispatchEvent(new Event("themechange"));
    },
  };

  system.addEventListener("change", () => theme.apply());
  theme.apply();
  window.theme = theme;
}

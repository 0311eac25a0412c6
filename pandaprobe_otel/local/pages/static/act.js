// Keys of the score form: 1 to 5 select, Ctrl+Enter saves and continues. Without scripts, the form works by mouse.
(() => {
  "use strict";
  document.addEventListener("keydown", (event) => {
    const form = document.querySelector("form[data-keys]");
    if (!form) return;
    if ((event.ctrlKey || event.metaKey) && event.key === "Enter") {
      event.preventDefault();
      form.requestSubmit();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || !/^[1-5]$/.test(event.key)) return;
    if (event.target.matches("input:not([type=radio]), textarea, select")) return;
    const choice = form.querySelector(`input[name="rating"][value="${event.key}"]`);
    event.preventDefault();
    choice.checked = true;
    choice.focus();
  });
})();

"use strict";
(() => {
  const box = document.getElementById("enlarged");
  if (!box || typeof box.showModal !== "function") return;
  const picture = box.querySelector("img");
  const words = box.querySelector("p");
  for (const button of document.querySelectorAll(".zoom")) {
    button.addEventListener("click", () => {
      const small = button.querySelector("img");
      picture.src = small.src;
      picture.alt = small.alt;
      words.textContent = small.alt;
      box.showModal();
    });
  }
  box.addEventListener("click", () => box.close());
})();

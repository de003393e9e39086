// Material's search dialog has no name that a screen reader could say.
document.querySelector("[data-md-component=search][role=dialog]")?.setAttribute("aria-label", "Search");

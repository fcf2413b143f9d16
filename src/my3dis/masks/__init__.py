"""All mask arithmetic, once: coding, boxes, overlap, suppression, hierarchy."""

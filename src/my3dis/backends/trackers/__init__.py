"""Ways of carrying masks through a video, one module (or package) each."""

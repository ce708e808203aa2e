"""Direct a video for as long as you like."""

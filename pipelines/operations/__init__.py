"""What production does, on a schedule or by hand: it follows the stages and moves releases."""

"""What people look at: pages that need no network and no other file."""

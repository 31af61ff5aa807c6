"""Many fits over one cache, and short trainings that tell something before a long one."""

from hypothesis import settings

# On a busy machine a slow example is no defect.
settings.register_profile("no deadline", settings(), deadline=None)
settings.load_profile("no deadline")

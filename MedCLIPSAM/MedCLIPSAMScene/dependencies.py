def missing():
    return []


def report():
    return "placeholder"


def install(progress):
    pass

"""What a proof measured, and whether it is what it must be."""


class Verdict:
    def __init__(self, name):
        self.name = name
        self.ok = True

    def say(self, text):
        print(f'# {self.name}: {text}', flush=True)

    def must(self, what, value, good, wanted, form='{}'):
        self.ok &= bool(good)
        self.say(f"{what}: {form.format(value)} ({'' if good else 'NOT '}{wanted})")

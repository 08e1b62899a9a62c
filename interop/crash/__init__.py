"""kill -9 under load: real clients write down what the broker promised, and it is held to it.

`ledger` is the account, `loads` are the clients, `__main__` kills, restarts and reconciles.
"""

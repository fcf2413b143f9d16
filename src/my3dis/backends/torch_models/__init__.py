"""What every back end that runs a torch model shares: devices, shortages of memory, and weights.

Only those back ends import it, and only when one is made: plug-in discovery works without torch.
"""

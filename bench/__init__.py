import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch, as in the Makefile
os.environ.setdefault("GOMP_SPINCOUNT", "5000")

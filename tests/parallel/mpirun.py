"""Starts processes under mpirun, on a machine that may have fewer cores than that."""
import os
import subprocess

SETTINGS = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "OMPI_MCA_btl": "self,vader,tcp",
    "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
}


def mpirun(num_ranks, *args):
    return subprocess.Popen(["mpirun", "--enable-recovery", "-n", str(num_ranks), *args],
                            env={**os.environ, **SETTINGS}, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)

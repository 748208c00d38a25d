"""Starts processes under mpirun, on a machine that may have fewer cores than that."""
import os
import subprocess
import sys

SKIPPED = 77

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


def skip_without_mpirun():
    """Ends the test as skipped where mpirun cannot start anything, which is no failure of ours."""
    run = mpirun(2, "true")
    output, _ = run.communicate(timeout=60)
    if run.returncode != 0:
        print(f"skipped: mpirun cannot start two processes here: {output.strip()}")
        sys.exit(SKIPPED)

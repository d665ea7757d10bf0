"""What every example imports first, and is run by: what goes wrong is one sentence, or silence.

Ctrl-C ends a program without a word from here on, while other modules are still being imported,
until `run` begins. So this file imports nothing that takes time.
"""

import os
import signal
import sys
import warnings

_PROGRAM = os.path.abspath(getattr(sys.modules["__main__"], "__file__", None) or "")
if os.path.dirname(_PROGRAM) == os.path.dirname(os.path.abspath(__file__)):  # not for tests
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(main, out_of_memory=""):
    """Run main(): what a user can mend is said in a sentence, without a traceback.

    Warnings are sentences, too, and printing never fails. `out_of_memory` says what to try then.
    Under MPI the first rank runs it, and the others work for that: see `over_ranks`. --mpi on the
    command line says that it runs under MPI, in case that cannot be seen.
    """
    from contextlib import redirect_stderr, redirect_stdout

    from tinyddpm import DataUnavailable, SafeStream, WorkerDied, over_ranks, which_rank

    always = "--mpi" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--mpi"]
    in_full = warnings.formatwarning
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    try:
        with redirect_stdout(SafeStream(sys.stdout)), redirect_stderr(SafeStream(sys.stderr)):
            signal.signal(signal.SIGINT, signal.default_int_handler)
            over_ranks(main, always)
    except (ValueError, OSError, FloatingPointError, DataUnavailable, WorkerDied) as error:
        sys.exit(f"error{_where(which_rank()[0])}: {error}")
    except MemoryError:
        sys.exit(
            f"error{_where(which_rank()[0])}: out of memory{out_of_memory and ': '}{out_of_memory}"
        )
    except KeyboardInterrupt as stop:
        sys.exit(stop_code(stop))
    finally:
        warnings.formatwarning = in_full


def _where(rank):
    """Which machine it is that has something to say, unless it is the first."""
    import platform

    return f" on rank {rank}, {platform.node()}" if rank else ""


def stop_code(stop):
    """The exit code after a KeyboardInterrupt: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
    return 128 + (stop.args or [signal.SIGINT])[0]


def check_folder(folder):
    """ValueError unless files can be written into this folder, which need not be there yet."""
    there = os.path.abspath(folder)
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    if not (os.path.isdir(there) and os.access(there, os.W_OK)):
        raise ValueError(f"--out: {there} is no folder that can be written to; name another place")

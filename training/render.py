"""Renders people into files, to train on them several times.

    python -m training.render --config config/training/train_rt.yaml --people 20000 \
        --seed 1 --out people
    python -m training.train --config config/training/train_rt.yaml --train.rendered people ...

Rendering a person costs about as much as a training step costs per person on the same cores. From
files, each person is used as often as there are epochs, mirrored and in other colours, and no core
renders while the network trains. A person takes 300 kB at 256 px. Several processes with different
seeds may write to one folder. Existing files are kept: run an interrupted command again to
continue it.
"""

from __future__ import annotations

from training.loop.command_line import rendering_parser
from training.loop.head_programs import people_of, run_program
from training.synthetic.stored_people import write_people

__all__ = ['main']


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = rendering_parser('training.render', __doc__)
    given = parser.parse_args(arguments)

    def render() -> None:
        """Renders the people of the command line."""
        people = people_of(parser.instantiate(given).train, given.seed)
        write_people(people, given.people, given.out)

    return run_program(render)


if __name__ == '__main__':
    raise SystemExit(main())

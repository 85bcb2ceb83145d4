"""Shows and changes parameters of the running node, without the `ros2` command.

    scripts/with-env python examples/set_parameter.py                       # shows all of them
    scripts/with-env python examples/set_parameter.py detector_stride:=5 min_score:=0.3
    scripts/with-env python examples/set_parameter.py --reconfigure runtime:=onnxruntime

docs/parameters.md lists the parameters that need `--reconfigure`, which deactivates and cleans up
the node, sets the values, and configures and activates it again.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import rclpy
import yaml
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters, ListParameters, SetParametersAtomically
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python

# Timeout of a service call, s: configuring includes loading the network.
TIMEOUT_S = 120.0
# Timeout of the discovery of the node, and the period of its retries, s.
DISCOVERY_S, RETRY_S = 20.0, 1.0
# In the node's reason, if a parameter can only be set while the node is unconfigured.
NEEDS_CONFIGURE = 'takes effect when the node is configured'
# Transitions to the state unconfigured, by the current state.
BEFORE = {
    State.PRIMARY_STATE_ACTIVE: (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP),
    State.PRIMARY_STATE_INACTIVE: (Transition.TRANSITION_CLEANUP,),
}
AFTER = (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE)
# The last one is called first: when the node answers it, it has discovered the other clients too.
SERVICES = {
    'change_state': ChangeState,
    'get_state': GetState,
    'set_parameters_atomically': SetParametersAtomically,
    'get_parameters': GetParameters,
    'list_parameters': ListParameters,
}


class NodeClient:
    """Calls the services of another node.

    Args:
        node: the node of this process.
        name: full name of the other node.

    Raises:
        TimeoutError: the other node does not answer.
    """

    def __init__(self, node: Node, name: str) -> None:
        self._node, self._name = node, name
        self._clients = {
            service: node.create_client(kind, f'{name}/{service}')
            for service, kind in SERVICES.items()
        }
        deadline = time.monotonic() + DISCOVERY_S
        while not self._is_answered('list_parameters', RETRY_S):
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f'no answer from a node {name}; start it, with the same '
                    'ROS_DOMAIN_ID, or give --node'
                )

    def values(self) -> dict[str, Any]:
        """All parameters of the node by name."""
        names = sorted(self._call('list_parameters').result.names)
        values = self._call('get_parameters', names=names).values
        return dict(zip(names, map(parameter_value_to_python, values), strict=True))

    def set(self, values: dict[str, Any]) -> str:
        """Sets all values or none; returns the reason if the node rejects them, else ''."""
        parameters = [
            Parameter(name, value=value).to_parameter_msg() for name, value in values.items()
        ]
        result = self._call('set_parameters_atomically', parameters=parameters).result
        return '' if result.successful else result.reason

    def clean_up(self) -> None:
        """Moves the node to the state unconfigured, in which all parameters can be set."""
        self._change(*BEFORE.get(self._call('get_state').current_state.id, ()))

    def activate(self) -> None:
        """Configures and activates the node."""
        self._change(*AFTER)

    def _change(self, *transitions: int) -> None:
        for transition in transitions:
            if not self._call('change_state', transition=Transition(id=transition)).success:
                raise RuntimeError(
                    f'{self._name} rejects transition {transition}; see the log of the node'
                )

    def _is_answered(self, service: str, timeout_s: float) -> bool:
        client = self._clients[service]
        if not client.wait_for_service(timeout_s):
            return False
        future = client.call_async(SERVICES[service].Request())
        rclpy.spin_until_future_complete(self._node, future, timeout_sec=timeout_s)
        return future.done()

    def _call(self, service: str, **fields: Any) -> Any:
        future = self._clients[service].call_async(SERVICES[service].Request(**fields))
        rclpy.spin_until_future_complete(self._node, future, timeout_sec=TIMEOUT_S)
        if not future.done():
            raise TimeoutError(f'{self._name}/{service} did not answer within {TIMEOUT_S:g} s')
        return future.result()


def main() -> int:
    """Shows or sets parameters.

    Returns:
        The exit code: 1 if the node rejects the values, 2 if it does not answer.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('assignments', nargs='*', metavar='NAME:=VALUE')
    parser.add_argument('--node', default='/decomr', help='full name of the node (/decomr)')
    parser.add_argument(
        '--reconfigure',
        action='store_true',
        help='clean up the node before, configure and activate it afterwards',
    )
    options = parser.parse_args()
    pairs = [text.partition(':=') for text in options.assignments]
    if wrong := [name for name, sign, _ in pairs if not sign]:
        parser.error(f'{wrong[0]!r} is not of the form NAME:=VALUE')
    rclpy.init()
    try:
        client = NodeClient(rclpy.create_node('set_parameter'), options.node)
        return _run(
            client, {name: yaml.safe_load(value) for name, _, value in pairs}, options.reconfigure
        )
    except (RuntimeError, TimeoutError) as error:
        sys.stderr.write(f'{error}\n')
        return 2
    finally:
        rclpy.try_shutdown()


def _run(client: NodeClient, values: dict[str, Any], is_reconfigured: bool) -> int:
    if not values:
        print(yaml.safe_dump(client.values(), sort_keys=True), end='')
        return 0
    if is_reconfigured:
        client.clean_up()
    reason = client.set(values)
    if is_reconfigured:
        client.activate()
    if reason:
        remedy = (
            '' if is_reconfigured or NEEDS_CONFIGURE not in reason else '; or give --reconfigure'
        )
        sys.stderr.write(f'nothing was changed: {reason}{remedy}\n')
        return 1
    print(', '.join(f'{name} is {value!r}' for name, value in values.items()))
    return 0


if __name__ == '__main__':
    raise SystemExit(main())

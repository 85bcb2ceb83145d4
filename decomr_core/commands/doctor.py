"""`decomr doctor`: checks ROS, runtimes and assets.

Each optional package is imported in a child process, so a package that hangs or crashes on import
is reported like a missing one, and the other checks continue. If ROS 2 is available, a node is
started, gets an image and must publish a mesh (`decomr_ros.self_test`). Otherwise the network is
run once.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import decomr_core
from decomr_core.base.assets import file_hash, find_body, find_uv_map, find_weights
from decomr_core.base.cache import VARIABLE, user_cache
from decomr_core.base.child_python import child_environment
from decomr_core.runtimes import DEFAULT_RUNTIME

__all__ = ['main_text', 'report']

PROBE_TIMEOUT_S = 60.0
TRIAL_TIMEOUT_S = 200.0
NODE_TRIAL = 'decomr_ros.self_test'
NETWORK_TRIAL = (
    'import json, numpy; from decomr_core.estimation.loading import load_runtime; '
    'network = load_runtime(); '
    'size = network.crop_size; network.run(numpy.zeros((1, size, size, 3), numpy.uint8)); '
    'print(json.dumps({"problem": None}))'
)
REQUIRED = ('torch', DEFAULT_RUNTIME)
INSTALL = {
    'torch': 'pip install torch',
    'openvino': 'pip install openvino',
    'onnxruntime': 'pip install onnxruntime',
    'tensorrt': 'pip install tensorrt cuda-python (needs an NVIDIA GPU)',
    'rclpy': 'source a ROS 2 installation, or run through scripts/with-env',
    'decomr.msg': 'build the package: make setup, or colcon build and source install/setup.bash',
}
# Packages of ROS 2 that some parameters need; without them the node works otherwise.
OPTIONAL_ROS = {
    'tf2_ros': 'smoothing_frame, obstacle_frame and robot parts in frames of their own',
    'tf2_msgs': 'publish_tf and tf_joints',
    'hri_msgs': 'the topics of rep155',
}


def report() -> dict[str, Any]:
    """The results of all checks, ready for JSON.

    Returns:
        `decomr`, `python`, `platform`, `cpus`; `ros` (distro, rmw, whether the messages are
        built, the Fast DDS profile, whether each of `OPTIONAL_ROS` is installed); `runtimes` by
        name (available, version, problem, devices or providers); `assets` (body, uv_map,
        weights: path, sha256 of the file, hash of the content, problem); `trial` (what was
        tried, problem, and seconds and people of a node); `problems`, a list of texts, empty if
        everything required works.
    """
    has_ros = _has_ros()
    with ThreadPoolExecutor(len(INSTALL) + 1) as pool:
        trial = pool.submit(_try_node if has_ros else _try_network)
        found = dict(zip(INSTALL, pool.map(_probe_in_child, INSTALL), strict=True))
    runtimes = {name: found[name] for name in ('torch', 'openvino', 'onnxruntime', 'tensorrt')}
    runtimes['cuda'] = runtimes['torch'].pop(
        'cuda', {'available': False, 'problem': 'unknown, because torch is not available'}
    )
    assets = {
        'body': _asset(find_body, _body_hash),
        'uv_map': _asset(find_uv_map, _uv_map_hash),
        'weights': _asset(find_weights, _weights_hash),
    }
    problems = [
        f'{name}: {asset["problem"]}' for name, asset in assets.items() if asset['problem']
    ]
    problems += [
        f'{name}: {runtimes[name]["problem"]}'
        for name in REQUIRED
        if not runtimes[name]['available']
    ]
    ros = _ros(found['rclpy'], found['decomr.msg'])
    ros['optional'] = {name: importlib.util.find_spec(name) is not None for name in OPTIONAL_ROS}
    if has_ros and ros['problem']:
        problems.append(f'ROS 2: {ros["problem"]}')
    elif trial.result()['problem']:  # if ROS itself fails, the node's error adds nothing
        problems.append(f'{trial.result()["tried"]}: {trial.result()["problem"]}')
    return {
        'decomr': decomr_core.__version__,
        'python': platform.python_version(),
        'platform': platform.platform(),
        'cpus': len(os.sched_getaffinity(0)),
        'ros': ros,
        'runtimes': runtimes,
        'assets': assets,
        'cache': _cache(),
        'trial': trial.result(),
        'problems': problems,
    }


def main_text(report: dict[str, Any]) -> str:
    """The report as text for a terminal, one line per finding."""
    ros = report['ros']
    lines = [
        f'decomr {report["decomr"]}, Python {report["python"]}, {report["cpus"]} CPUs, '
        f'{report["platform"]}',
        '',
        'ROS 2',
    ]
    lines += [_line(name, ros[name] or 'none') for name in ('distro', 'rmw', 'fastdds_profile')]
    lines.append(_line('messages', 'built' if ros['messages_built'] else 'not built'))
    for name, is_installed in ros['optional'].items():
        what = 'installed' if is_installed else f'not installed; only {OPTIONAL_ROS[name]} need it'
        lines.append(_line(name, what))
    if ros['problem']:
        lines.append(_line('problem', ros['problem']))
    lines += ['', 'Runtimes']
    for name, runtime in report['runtimes'].items():
        where = ', '.join(runtime.get('devices') or runtime.get('providers') or [])
        version = f'{runtime.get("version")}{f" on {where}" if where else ""}'
        lines.append(_line(name, version if runtime['available'] else f'no: {runtime["problem"]}'))
    lines += ['', 'Assets']
    for name, asset in report['assets'].items():
        what = f'{asset["path"]}, hash {str(asset["hash"])[:12]}'
        lines.append(_line(name, asset['problem'] or what))
    lines += ['', 'Cache', *(_line(name, text) for name, text in report['cache'].items())]
    trial = report['trial']
    lines += ['', 'Tried', _line(trial['tried'], trial['problem'] or trial['found']), '']
    lines += [f'PROBLEM {problem}' for problem in report['problems']]
    return '\n'.join(lines if report['problems'] else [*lines, 'Everything required works.'])


def _line(name: str, value: str) -> str:
    return f'  {name:16}{value}'


def _ros(rclpy: dict[str, Any], messages: dict[str, Any]) -> dict[str, Any]:
    profile = os.environ.get('FASTDDS_DEFAULT_PROFILES_FILE') or os.environ.get(
        'FASTRTPS_DEFAULT_PROFILES_FILE'
    )
    return {
        'distro': os.environ.get('ROS_DISTRO'),
        'rmw': rclpy.get('rmw'),
        'messages_built': messages['available'],
        'fastdds_profile': profile if profile and Path(profile).is_file() else None,
        'problem': rclpy['problem'] or messages['problem'],
    }


def _cache() -> dict[str, str]:
    """The folder of exported models, and whether the shipped network is in it."""
    from decomr_core.export.cached_exports import find_export

    try:
        found = find_export()
    except OSError:
        found = None
    return {
        'folder': f'{user_cache()} ({VARIABLE})',
        'network': f'exported, {found}'
        if found
        else 'not exported yet; decomr prepare or the first start exports it',
    }


def _asset(find: Callable[[], Path], hash_of: Callable[[Path], str]) -> dict[str, Any]:
    """Path and hashes of one asset, or its problem."""
    found: dict[str, Any] = {'path': None, 'sha256': None, 'hash': None, 'problem': None}
    try:
        path = find()
        found.update(path=str(path), sha256=file_hash(path))
        found['hash'] = hash_of(path)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        found['problem'] = str(error)
    return found


def _body_hash(path: Path) -> str:
    from decomr_core.body_models import load_body

    return load_body(path).hash


def _uv_map_hash(path: Path) -> str:
    from decomr_core.body_models import load_body
    from decomr_core.uv.uv_map import load_uv_map

    return load_uv_map(path, load_body()).hash


def _weights_hash(path: Path) -> str:
    """Hash of the weights; loads them to check that they fit network, body and UV map."""
    from decomr_core.networks.checkpoint import load_network

    load_network(path)
    return file_hash(path)


def _has_ros() -> bool:
    """Whether ROS 2 is at least partly installed, so that the node should work."""
    return bool(os.environ.get('ROS_DISTRO')) or importlib.util.find_spec('rclpy') is not None


def _try_node() -> dict[str, Any]:
    """Starts a node and returns its result."""
    try:
        found = _run_child('-m', NODE_TRIAL, timeout_s=TRIAL_TIMEOUT_S)
        text = f'{found["people"]} people in an image, {found["seconds"]} s after its start'
    except RuntimeError as error:
        found, text = {'problem': str(error)}, ''
    return {'tried': 'a node', 'found': text, **found}


def _try_network() -> dict[str, Any]:
    """Runs the shipped network once."""
    try:
        found = _run_child('-c', NETWORK_TRIAL, timeout_s=TRIAL_TIMEOUT_S)
    except RuntimeError as error:
        found = {'problem': str(error)}
    return {
        'tried': f'the network in {DEFAULT_RUNTIME}',
        'found': 'it runs; ROS 2 is not installed here, so no node was tried',
        **found,
    }


def _probe_in_child(module: str) -> dict[str, Any]:
    """The result of `_probe` in a child process."""
    try:
        return _run_child('-m', 'decomr_core.commands.doctor', module, timeout_s=PROBE_TIMEOUT_S)
    except RuntimeError as error:
        return _missing(module, str(error))


def _run_child(*arguments: str, timeout_s: float) -> dict[str, Any]:
    """Runs a Python process and parses the last line of its output as JSON.

    Raises:
        RuntimeError: the process fails, or takes longer than `timeout_s`.
    """
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=child_environment(),
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f'it takes more than {timeout_s:.0f} s') from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f'it exited with code {done.returncode}']
        raise RuntimeError(lines[-1])
    return json.loads(done.stdout.splitlines()[-1])


def _missing(module: str, reason: str) -> dict[str, Any]:
    remedy = INSTALL[module]
    middleware = os.environ.get('RMW_IMPLEMENTATION')
    if middleware and middleware in reason:
        package = f'ros-{os.environ.get("ROS_DISTRO", "jazzy")}-{middleware.replace("_", "-")}'
        remedy = (
            f'RMW_IMPLEMENTATION is {middleware}, which is not installed: unset it, or '
            f'sudo apt install {package}'
        )
    return {'available': False, 'version': None, 'problem': f'{reason}; {remedy}'}


def _probe(name: str) -> dict[str, Any]:
    """Imports a module and reads its version and its devices or providers."""
    module = importlib.import_module(name)
    found = {'available': True, 'version': getattr(module, '__version__', None), 'problem': None}
    details: dict[str, Callable[[ModuleType], dict[str, Any]]] = {
        'torch': lambda torch: {'cuda': _cuda(torch)},
        'openvino': lambda openvino: {'devices': openvino.Core().available_devices},
        'onnxruntime': lambda runtime: {'providers': runtime.get_available_providers()},
        'rclpy': lambda rclpy: {'rmw': rclpy.get_rmw_implementation_identifier()},
    }
    if name in details:
        found.update(details[name](module))
    return found


def _cuda(torch: ModuleType) -> dict[str, Any]:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {
        'available': count > 0,
        'version': torch.version.cuda,
        'devices': [torch.cuda.get_device_name(index) for index in range(count)],
        'problem': None if count else 'torch finds no CUDA device',
    }


if __name__ == '__main__':
    sys.stdout.write(json.dumps(_probe(sys.argv[1])) + '\n')

"""The import rule: each part uses what lies below it, never what lies above or beside it."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ('decomr_core', 'decomr_ros', 'training')

# From the bottom to the top. A module may import its own layer and those below.
LAYERS = (
    ('decomr_core.__version__', 'decomr_core.no_telemetry'),
    ('decomr_core.base',),
    ('decomr_core.geometry',),
    ('decomr_core.body_models',),
    ('decomr_core.uv',),
    ('decomr_core.measures', 'decomr_core.networks'),
    ('decomr_core.people',),
    ('decomr_core.runtimes', 'decomr_core.export'),
    ('decomr_core.estimation',),
    ('training', 'decomr_ros', 'decomr_core.commands'),
    ('decomr_core.cli',),
)
TOP = 9  # training, decomr_ros and the commands: none of them imports another's folder
ROS_MODULES = {'rclpy', 'rosidl_runtime_py', 'decomr', 'ament_index_python', 'cv_bridge',
               'builtin_interfaces', 'diagnostic_msgs', 'geometry_msgs', 'lifecycle_msgs',
               'rcl_interfaces', 'rosgraph_msgs', 'sensor_msgs', 'sensor_msgs_py', 'std_msgs',
               'std_srvs',
               'vision_msgs', 'visualization_msgs', 'rosbag2_py', 'launch', 'launch_ros',
               'tf2_ros', 'tf2_msgs', 'hri_msgs', 'yolo_msgs'}
# Optional packages, and the files that may import each.
OPTIONAL = {
    'anny': 'tools/bake_builtin_body.py',
    'tf2_ros': 'decomr_ros/pipeline/fixed_frame.py',
    'h5py': 'training/datasets/readers/mpi_inf_3dhp.py',
    'jsonargparse': 'training/loop/command_line.py',
    'lightning_fabric': 'training/loop/trainer.py',
    'onnx': ('decomr_core/export/onnx_graph.py', 'tools/bake_person_detector.py'),
    'onnxruntime': 'decomr_core/runtimes/onnxruntime_runtime.py',
    'cuda': 'decomr_core/runtimes/cuda_device.py',
    'cv_bridge': 'decomr_ros/messages/images.py',
    'tensorrt': 'decomr_core/runtimes/tensorrt/engine.py',
    'hri_msgs': 'decomr_ros/outputs/rep155.py',
    'mcap': 'decomr_ros/bags/mcap_bag.py',
    'openvino': 'decomr_core/runtimes/openvino_runtime.py',
    'tf2_msgs': 'decomr_ros/outputs/body_frames.py',
    'vision_msgs': ('decomr_ros/messages/boxes.py', 'decomr_ros/messages/box_messages.py'),
    'viser': 'decomr_ros/viewer/view_scene.py',
    'yolo_msgs': 'decomr_ros/messages/box_messages.py',
}
# The camera and the listener of the node's benchmark: nothing that is installed.
ROS_PROGRAMS = ROOT / 'benchmarks/node_programs.py'
WITHOUT_TORCH = ('openvino_runtime', 'onnxruntime_runtime', 'tensorrt.runtime')


def python_files(*folders: str) -> list[Path]:
    """All Python files of some folders of the repository."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob('*.py'))


def module_name(path: Path) -> str:
    """The dotted name a file is imported by."""
    parts = path.relative_to(ROOT).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


@functools.cache
def imported_modules(path: Path) -> frozenset[str]:
    """Everything a file imports, also inside functions; `from a import b` gives a.b."""
    return frozenset(_imported_modules(path))


def _imported_modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module_name(path).split('.')
            package = package if path.name == '__init__.py' else package[:-1]
            base = package[:len(package) - node.level + 1] if node.level else []
            base = '.'.join([*base, *filter(None, [node.module])])
            yield from (f'{base}.{alias.name}' for alias in node.names)


def place(module: str) -> tuple[int, str] | None:
    """Layer and part of one of our modules: the longest name in LAYERS that fits."""
    fits = [(len(part), layer, part) for layer, parts in enumerate(LAYERS) for part in parts
            if part == module or module.startswith(f'{part}.')]
    return max(fits)[1:] if fits else None


def breaks_the_rule(importer: str, imported: str) -> bool:
    """Whether a module of ours must not import another module of ours."""
    above, below = place(importer), place(imported)
    if above is None or below is None:
        return False
    folders = importer.split('.')[0], imported.split('.')[0]
    if above[1] == 'decomr_core.cli':  # `decomr demo` starts the nodes; training stays apart
        return folders[1] == 'training'
    return below[0] > above[0] or (below[0] == TOP and folders[0] != folders[1])


def test_every_module_has_a_place_in_the_layers() -> None:
    top_level = {'.'.join(module_name(path).split('.')[:2])
                 for path in python_files('decomr_core')} - {'decomr_core'}
    placed = {part for layer in LAYERS for part in layer}
    assert top_level - placed == set(), 'give each a layer in LAYERS'


def test_nothing_imports_upward_or_beside_itself() -> None:
    wrong = {f'{path.relative_to(ROOT)} imports {imported}'
             for path in python_files(*FOLDERS) for imported in imported_modules(path)
             if breaks_the_rule(module_name(path), imported)}
    assert wrong == set()


@pytest.mark.parametrize(('importer', 'imported'), [
    ('decomr_core.geometry.camera', 'decomr_core.estimation.estimator.HumanMeshEstimator'),
    ('decomr_core.geometry.crop', 'decomr_ros.messages.images'),
    ('training.train', 'decomr_ros.messages.meshes'),
    ('decomr_ros.demo', 'training.synthetic.people'),
    ('decomr_core.base.structures', 'decomr_core.uv.uv_map'),
    ('decomr_core.commands.bench', 'decomr_ros.demo'),
    ('decomr_core.cli', 'training.train'),
])
def test_the_rule_sees_a_wrong_import(importer: str, imported: str) -> None:
    assert breaks_the_rule(importer, imported)
    assert not breaks_the_rule('training.train', 'decomr_core.estimation.estimator')


def test_only_decomr_ros_the_launch_files_and_one_benchmark_import_ros() -> None:
    wrong = {f'{path.relative_to(ROOT)} imports {imported}'
             for path in python_files('decomr_core', 'training', 'tools', 'benchmarks', 'scripts')
             if path != ROS_PROGRAMS
             for imported in imported_modules(path) if imported.split('.')[0] in ROS_MODULES}
    assert wrong == set()


@pytest.mark.parametrize('package', sorted(OPTIONAL))
def test_each_optional_package_is_imported_in_one_file(package: str) -> None:
    users = {str(path.relative_to(ROOT)) for path in python_files(*FOLDERS, 'tools')
             for imported in imported_modules(path) if imported.split('.')[0] == package}
    allowed = OPTIONAL[package]
    assert users == set((allowed,) if isinstance(allowed, str) else allowed)


@pytest.mark.parametrize('runtime', WITHOUT_TORCH)
def test_the_exported_runtimes_load_without_torch(runtime: str) -> None:
    code = (f'import sys; import decomr_core.runtimes.{runtime}; '
            "sys.exit('torch is loaded' if 'torch' in sys.modules else 0)")
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    if 'ModuleNotFoundError' in done.stderr and f'decomr_core.runtimes.{runtime}' in done.stderr:
        pytest.fail(f'there is no {runtime}')
    if 'ImportError' in done.stderr and 'pip install' in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr

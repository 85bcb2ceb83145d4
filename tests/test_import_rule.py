"""The import rule: each folder uses what lies below it, never what lies above or beside it."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ('decomr_core', 'decomr_ros', 'training')
PAGE = ROOT / 'docs' / 'architecture.md'
MOST_FILES = 14

# The folders from the bottom to the top. A file may import its own folder and those on floors
# below; training and decomr_ros stand on decomr_core. The name of a package alone stands for the
# programs directly in it. A file in PUBLIC_MODULES has a floor of its own.
FLOORS = {
    'decomr_core': (
        ('decomr_core.base',),
        ('decomr_core.geometry', 'decomr_core.body_models'),
        (
            'decomr_core.uv',
            'decomr_core.people',
            'decomr_core.drawing',
            'decomr_core.networks.encoders',
        ),
        (
            'decomr_core.uv.chart',
            'decomr_core.networks',
            'decomr_core.measures',
            'decomr_core.runtimes',
        ),
        ('decomr_core.runtimes.torch', 'decomr_core.runtimes.tensorrt'),
        ('decomr_core.export',),
        ('decomr_core.estimation',),
        ('decomr_core.estimator',),
        ('decomr_core.commands',),
        ('decomr_core',),
    ),
    'decomr_ros': (
        ('decomr_ros.node', 'decomr_ros.programs'),
        ('decomr_ros.messages',),
        ('decomr_ros.topics', 'decomr_ros.calibration'),
        ('decomr_ros.settings',),
        ('decomr_ros.inputs',),
        ('decomr_ros.pipeline',),
        ('decomr_ros.outputs',),
        ('decomr_ros.robot',),
        ('decomr_ros.health', 'decomr_ros.bags', 'decomr_ros.viewer'),
        ('decomr_ros',),
    ),
    'training': (
        ('training.records', 'training.synthetic.clothes'),
        ('training.targets', 'training.synthetic.bodies', 'training.synthetic.scenes'),
        ('training.synthetic.furniture', 'training.synthetic.motion', 'training.datasets.readers'),
        ('training.synthetic', 'training.datasets'),
        ('training.evaluation',),
        ('training.loop',),
        ('training.ablations',),
        ('training',),
    ),
}
# Modules that users of the library import by name: directly in the package, whatever they need.
PUBLIC_MODULES = {'decomr_core.drawing', 'decomr_core.estimator'}
# What Python imports before anything else of a package: below every floor.
GROUND = {'decomr_core', 'decomr_core.no_telemetry', 'decomr_ros', 'decomr_ros.memory', 'training'}
# Folders of decomr_core that only decomr_core itself uses.
OWN_USE = {'decomr_core', 'decomr_core.commands'}
# The core names modules of decomr_ros in these places alone: as text, and it works without them.
NAMED_PROGRAMS = {
    'decomr_core/cli.py': {
        'decomr_ros.bag_commands',
        'decomr_ros.demo',
        'decomr_ros.markers_node',
        'decomr_ros.view',
    },
    'decomr_core/commands/doctor.py': {'decomr_ros.self_test'},
}
ROS_MODULES = {
    'rclpy',
    'rosidl_runtime_py',
    'decomr',
    'ament_index_python',
    'cv_bridge',
    'builtin_interfaces',
    'diagnostic_msgs',
    'geometry_msgs',
    'lifecycle_msgs',
    'rcl_interfaces',
    'rosgraph_msgs',
    'sensor_msgs',
    'sensor_msgs_py',
    'std_msgs',
    'std_srvs',
    'vision_msgs',
    'visualization_msgs',
    'rosbag2_py',
    'launch',
    'launch_ros',
    'tf2_ros',
    'tf2_msgs',
    'hri_msgs',
    'yolo_msgs',
}
# Optional packages, and the files that may import each.
OPTIONAL = {
    'anny': 'tools/bake_builtin_body.py',
    'tf2_ros': 'decomr_ros/pipeline/transforms.py',
    'h5py': 'training/datasets/readers/mpi_inf_3dhp.py',
    'jsonargparse': 'training/loop/command_line.py',
    'lightning_fabric': 'training/loop/trainer.py',
    'onnx': ('decomr_core/export/onnx_graph.py', 'tools/bake_person_detector.py'),
    'onnxruntime': 'decomr_core/runtimes/onnxruntime_runtime.py',
    'cuda': 'decomr_core/runtimes/cuda_device.py',
    'cv_bridge': 'decomr_ros/messages/images.py',
    'tensorrt': 'decomr_core/runtimes/tensorrt/bindings.py',
    'trimesh': 'decomr_ros/robot/urdf.py',
    'hri_msgs': 'decomr_ros/outputs/rep155.py',
    'mcap': ('decomr_ros/bags/mcap_reading.py', 'decomr_ros/bags/mcap_writing.py'),
    'openvino': 'decomr_core/runtimes/openvino_runtime.py',
    'tf2_msgs': 'decomr_ros/outputs/body_frames.py',
    'vision_msgs': ('decomr_ros/messages/boxes.py', 'decomr_ros/messages/box_messages.py'),
    'viser': 'decomr_ros/viewer/view_scene.py',
    'yolo_msgs': 'decomr_ros/messages/box_messages.py',
}
# The camera and the listener of the node's benchmark: nothing that is installed.
ROS_PROGRAMS = ROOT / 'benchmarks/node_programs.py'
WITHOUT_TORCH = ('openvino_runtime', 'onnxruntime_runtime', 'tensorrt.runtime')
# It loads each public name on first use, and imports them for type checkers alone.
PUBLIC_FACE = ROOT / 'decomr_core/__init__.py'
Node = TypeVar('Node', bound=Hashable)


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
    tree = ast.parse(path.read_text(encoding='utf-8'))
    if path == PUBLIC_FACE:
        tree.body = [node for node in tree.body if not _is_for_type_checkers(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module_name(path).split('.')
            package = package if path.name == '__init__.py' else package[:-1]
            base = package[: len(package) - node.level + 1] if node.level else []
            base = '.'.join([*base, *filter(None, [node.module])])
            yield from (f'{base}.{alias.name}' for alias in node.names)


def _is_for_type_checkers(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == 'TYPE_CHECKING'


@functools.cache
def modules() -> Mapping[str, Path]:
    """The modules of this repository by name."""
    return {module_name(path): path for path in python_files(*FOLDERS)}


def module_of(name: str) -> str | None:
    """The module of this repository that contains an imported name."""
    while name and name not in modules():
        name = name.rpartition('.')[0]
    return name or None


def folder_of(module: str) -> str:
    """The folder of a module of ours, `ground`, or the module itself if it has its own floor."""
    if module in GROUND:
        return 'ground'
    if module in PUBLIC_MODULES:
        return module
    is_folder = modules().get(module, Path()).name == '__init__.py'
    return module if is_folder else module.rpartition('.')[0]


def imports_of_files() -> dict[str, set[str]]:
    """The imports of each module from the others."""
    found = {}
    for module, path in modules().items():
        names = {module_of(name) for name in imported_modules(path)}
        found[module] = {name for name in names if name} - {module}
    return found


def imports_of_folders() -> dict[str, set[str]]:
    """The imports of each folder from the others."""
    found: dict[str, set[str]] = {}
    for module, names in imports_of_files().items():
        folder = folder_of(module)
        found.setdefault(folder, set()).update({folder_of(name) for name in names} - {folder})
    return found


def circles(imports: Mapping[Node, set[Node]]) -> list[set[Node]]:
    """The groups that reach each other by imports."""

    def reached(start: Node) -> set[Node]:
        """Everything that is imported from there, at any distance."""
        seen, waiting = set(), [start]
        while waiting:
            for name in imports.get(waiting.pop(), ()):
                if name not in seen:
                    seen.add(name)
                    waiting.append(name)
        return seen

    reach = {name: reached(name) for name in imports}
    found: list[set[Node]] = []
    for name in imports:
        if name in reach[name] and not any(name in group for group in found):
            found.append({other for other in reach[name] if name in reach.get(other, ())})
    return found


def floor_of(folder: str) -> int:
    """Which floor of its package a folder is on, from 1; the ground is 0."""
    floors = FLOORS.get(folder.partition('.')[0], ())
    return next((number for number, names in enumerate(floors, 1) if folder in names), 0)


def breaks_the_rule(importer: str, imported: str) -> bool:
    """Whether a module must not import a name."""
    module = module_of(imported)
    if module is None or folder_of(module) in ('ground', folder_of(importer)):
        return False
    above, below = folder_of(importer), folder_of(module)
    packages = above.partition('.')[0], below.partition('.')[0]
    if above == 'ground' or packages[0] == packages[1]:
        return above == 'ground' or floor_of(below) >= floor_of(above)
    return packages[0] == 'decomr_core' or packages[1] != 'decomr_core' or below in OWN_USE


def test_every_folder_has_a_floor() -> None:
    folders = {folder_of(module) for module in modules()} - {'ground'}
    placed = Counter(name for floors in FLOORS.values() for floor in floors for name in floor)
    assert folders == set(placed), 'give each a floor in FLOORS and a line in the page'
    assert max(placed.values()) == 1


def test_nothing_imports_upward_or_beside_itself() -> None:
    wrong = {
        f'{path.relative_to(ROOT)} imports {imported}'
        for path in python_files(*FOLDERS)
        for imported in imported_modules(path)
        if breaks_the_rule(module_name(path), imported)
    }
    assert wrong == set()


@pytest.mark.parametrize(
    ('importer', 'imported'),
    [
        ('decomr_core.geometry.camera', 'decomr_core.estimator.HumanMeshEstimator'),
        ('decomr_core.geometry.camera', 'decomr_core.body_models.joints'),
        ('decomr_core.geometry.crop', 'decomr_ros.messages.images'),
        ('decomr_core.uv.quality', 'decomr_core.uv.chart.landmarks.boundary_loop'),
        ('decomr_core.no_telemetry', 'decomr_core.base.structures'),
        ('training.train', 'decomr_ros.messages.meshes'),
        ('training.train', 'decomr_core.commands.bench'),
        ('decomr_ros.demo', 'training.synthetic.people'),
        ('decomr_ros.inputs.inputs', 'decomr_ros.pipeline.mesh_pipeline'),
        ('decomr_core.base.structures', 'decomr_core.uv.uv_map'),
        ('decomr_core.commands.bench', 'decomr_ros.demo'),
        ('decomr_core.cli', 'training.train'),
    ],
)
def test_a_wrong_import_is_detected(importer: str, imported: str) -> None:
    assert importer in modules() and module_of(imported) not in (None, *FOLDERS)
    assert breaks_the_rule(importer, imported)
    assert not breaks_the_rule('training.train', 'decomr_core.estimator')
    assert not breaks_the_rule('decomr_core.commands.doctor', 'decomr_core.__version__')


def test_no_modules_import_each_other_in_a_cycle() -> None:
    assert circles(imports_of_files()) == []


def test_no_folders_import_each_other_in_a_cycle() -> None:
    assert circles(imports_of_folders()) == []


def test_a_cycle_is_detected() -> None:
    assert circles({'a': {'b'}, 'b': {'c', 'd'}, 'c': {'a'}, 'd': {'e'}}) == [{'a', 'b', 'c'}]
    assert circles({'a': {'b', 'c'}, 'b': {'c'}, 'c': set()}) == []


def test_no_folder_has_too_many_python_files() -> None:
    counts = Counter(
        path.parent.relative_to(ROOT)
        for path in python_files(*FOLDERS, 'tests', 'tools', 'benchmarks', 'launch', 'examples')
    )
    assert {str(folder): count for folder, count in counts.items() if count > MOST_FILES} == {}


def test_the_core_names_ros_programs_only_in_known_places() -> None:
    named: dict[str, set[str]] = {}
    for path in python_files('decomr_core'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and re.fullmatch(r'(decomr_ros|training)(\.\w+)+', node.value)
            ):
                named.setdefault(str(path.relative_to(ROOT)), set()).add(node.value)
    assert named == NAMED_PROGRAMS
    assert all(name in modules() for names in named.values() for name in names)


def test_the_page_of_the_architecture_has_every_folder_on_its_floor() -> None:
    page = PAGE.read_text(encoding='utf-8')
    rows = re.findall(r'^\| (\d+) \| `([\w/]+?)(?:/|\.py)` \| (.+) \|$', page, re.M)
    assert {(folder.replace('/', '.'), int(floor)) for floor, folder, _ in rows} == {
        (name, floor_of(name)) for floors in FLOORS.values() for names in floors for name in names
    }
    for _, folder, text in rows:
        if '/' in folder:
            path = ROOT / folder
            path = path / '__init__.py' if path.is_dir() else path.with_suffix('.py')
            docstring = ast.get_docstring(ast.parse(path.read_text()))
            assert text == docstring.splitlines()[0], folder


def test_only_decomr_ros_the_launch_files_and_one_benchmark_import_ros() -> None:
    wrong = {
        f'{path.relative_to(ROOT)} imports {imported}'
        for path in python_files('decomr_core', 'training', 'tools', 'benchmarks', 'scripts')
        if path != ROS_PROGRAMS
        for imported in imported_modules(path)
        if imported.split('.')[0] in ROS_MODULES
    }
    assert wrong == set()


@pytest.mark.parametrize('package', sorted(OPTIONAL))
def test_each_optional_package_is_imported_in_one_file(package: str) -> None:
    users = {
        str(path.relative_to(ROOT))
        for path in python_files(*FOLDERS, 'tools')
        for imported in imported_modules(path)
        if imported.split('.')[0] == package
    }
    allowed = OPTIONAL[package]
    assert users == set((allowed,) if isinstance(allowed, str) else allowed)


@pytest.mark.parametrize('runtime', WITHOUT_TORCH)
def test_the_exported_runtimes_load_without_torch(runtime: str) -> None:
    code = (
        f'import sys; import decomr_core.runtimes.{runtime}; '
        "sys.exit('torch is loaded' if 'torch' in sys.modules else 0)"
    )
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    if 'ModuleNotFoundError' in done.stderr and f'decomr_core.runtimes.{runtime}' in done.stderr:
        pytest.fail(f'there is no {runtime}')
    if 'ImportError' in done.stderr and 'pip install' in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr

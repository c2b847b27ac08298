// A model, as Dart by edgekit, through m2cgen.
//
// A row holds, in this order:
//
//   - width, in mm: number, may be missing (NaN)
//   - kind: category, given as a number (0 = a, 1 = b; -1 = any other), may be missing (NaN)
//
// predict gives places in its table of classes.
import 'dart:math';
import 'dart:typed_data';

const predictClasses = ["no", "yes", "\u{24}x \u{24}{y} \"{z}\" \\u0041 \\\t", "\u{e9}\r\n\u{2028}\u{1f600}\u{0}\u{7f}"];

int predict(List<double> row) {
  if (row.length != 2) {
    throw ArgumentError("a row has 2 values");
  }
  List<double> var0;
  var0 = _r1(row);
  List<double> var1;
  var1 = _r2(var0);
  List<double> var2;
  var2 = _r3(var0, var1);
  List<double> var3;
  var3 = _r4(var2);
  List<double> var4;
  var4 = _r5(var3);
  return var4[0].toInt();
}

List<double> predictProba(List<double> row) {
  if (row.length != 2) {
    throw ArgumentError("a row has 2 values");
  }
  List<double> var0;
  var0 = _r1(row);
  List<double> var1;
  var1 = _r2(var0);
  List<double> var2;
  var2 = _r3(var0, var1);
  List<double> var3;
  var3 = _r4(var2);
  return var3;
}

double _r1_s0(double v) {
  double var0;
  if (v >= 3.0) {
    if (v >= 5.0) {
      var0 = 0.0;
    } else {
      var0 = 1.0;
    }
  } else {
    if (v >= 1.0) {
      var0 = 0.0;
    } else {
      if (v > -1.0) {
        var0 = 1.0;
      } else {
        var0 = 0.0;
      }
    }
  }
  return var0;
}

double _r1_t0(List<double> var0) {
  double var1;
  if (var0[0] > 0.1) {
    if (_r1_s0(var0[1]) > 0.0) {
      var1 = -1.25;
    } else {
      var1 = 2.0;
    }
  } else {
    var1 = 0.5;
  }
  return var1;
}

double _r1_t1(List<double> var0) {
  return 2.0;
}

List<double> _r1(List<double> x) {
  List<double> var0;
  var0 = [_single(x[0]), _single(x[1])];
  return [_single(0.10000000149011612 + _r1_t0(var0)), _single(-0.0 + _r1_t1(var0))];
}

double _apply_log1p(double v) {
  double var0;
  if ((v).abs() < 1e-05) {
    var0 = v - v * v * 0.5;
  } else {
    var0 = log(1.0 + v);
  }
  return var0;
}

List<double> _r2(List<double> x) {
  return [_apply_log1p(x[0]), _apply_log1p(x[1])];
}

List<double> _r3(List<double> x0, List<double> x1) {
  return [...x0, ...x1];
}

double _larger(double a, double b) {
  double var0;
  if (b <= a) {
    var0 = a;
  } else {
    if (b > a) {
      var0 = b;
    } else {
      var0 = a + b;
    }
  }
  return var0;
}

List<double> _r4(List<double> x) {
  double var0;
  var0 = _larger(_larger(_larger(x[0], x[1]), x[2]), x[3]);
  List<double> var1;
  var1 = [exp(x[0] - var0), exp(x[1] - var0), exp(x[2] - var0), exp(x[3] - var0)];
  double var2;
  var2 = var1[0] + var1[1] + var1[2] + var1[3];
  return [var1[0] / var2, var1[1] / var2, var1[2] / var2, var1[3] / var2];
}

double _r5_at(List<double> x, double var0) {
  double var1;
  if (var0 <= double.infinity) {
    if (x[0] == var0) {
      var1 = 0.0;
    } else {
      if (x[1] == var0) {
        var1 = 1.0;
      } else {
        if (x[2] == var0) {
          var1 = 2.0;
        } else {
          var1 = 3.0;
        }
      }
    }
  } else {
    if (x[0] <= double.infinity) {
      if (x[1] <= double.infinity) {
        if (x[2] <= double.infinity) {
          var1 = 3.0;
        } else {
          var1 = 2.0;
        }
      } else {
        var1 = 1.0;
      }
    } else {
      var1 = 0.0;
    }
  }
  return var1;
}

List<double> _r5(List<double> x) {
  double var0;
  var0 = _larger(_larger(_larger(x[0], x[1]), x[2]), x[3]);
  return [_r5_at(x, var0)];
}

final _cell = Float32List(1);

double _single(double value) {
  _cell[0] = value;
  return _cell[0];
}

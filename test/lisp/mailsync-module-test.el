;;; mailsync-module-test.el --- A module that is absent, old, broken, right  -*- lexical-binding: t -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Code:

(require 'mailsync-test-helper)

(defun module-test-error ()
  "What loading the module says, in an Emacs of its own.
The environment has the directory of the module in MODULE_DIR."
  (with-temp-buffer
    (test-emacs "--eval" "(require 'mailsync)"
                "--eval" "(setq mailsync-module-directory (getenv \"MODULE_DIR\"))"
                "--eval" "(condition-case err (mailsync-mode 1)
                              (error (princ (format \"%s %s\" mailsync-mode
                                                    (error-message-string err)))))")
    (buffer-string)))

(ert-deftest mailsync-module-says-what-to-do ()
  "Each failure is one message that says what to do, and the mode stays off."
  (let* ((directory (make-temp-file "mailsync-module" t))
         (process-environment (cons (concat "MODULE_DIR=" directory)
                                    process-environment))
         (file (expand-file-name (concat "mailsync-engine" module-file-suffix)
                                 directory))
         (version (expand-file-name "mailsync-engine.version" directory)))
    (unwind-protect
        (progn
          (should (string-match-p "nil .*not there.*M-x mailsync-module-compile"
                                  (module-test-error)))
          (write-region "junk" nil file nil 'silent)
          ;; A module without a version was not put there whole.
          (should (string-match-p "nil .*mailsync-engine\\.version, .*not there; run M-x"
                                  (module-test-error)))
          (write-region "0.0.1\n" nil version nil 'silent)
          (should (string-match-p
                   "nil .*0\\.0\\.1.*want.*M-x mailsync-module-compile"
                   (module-test-error)))
          (write-region "99.0.0\n" nil version nil 'silent)
          (should (string-match-p "nil .*99\\.0\\.0.*want.*upgraded.*restart it"
                                  (module-test-error)))
          (write-region (concat mailsync-module--version-wanted "\n") nil version
                        nil 'silent)
          (should (string-match-p
                   "nil .*cannot be loaded.*M-x mailsync-module-compile"
                   (module-test-error))))
      (delete-directory directory t))))

;; What is loaded may do what Emacs may.
(ert-deftest mailsync-module-is-nobody-else-s ()
  "S61: a module that depends on where one is, or that anybody may replace, is refused."
  (let* ((directory (make-temp-file "mailsync-module" t))
         (file (expand-file-name (concat "mailsync-engine" module-file-suffix)
                                 directory)))
    (unwind-protect
        (cl-flet ((said (name)
                    (let ((process-environment (cons (concat "MODULE_DIR=" name)
                                                     process-environment))
                          (default-directory (file-name-directory directory)))
                      (module-test-error))))
          (dolist (suffix (list module-file-suffix ".version"))
            (let ((name (concat "mailsync-engine" suffix)))
              (copy-file (expand-file-name name mailsync-module--lisp-directory)
                         (expand-file-name name directory))))
          (dolist (name (list "lisp" (file-name-nondirectory directory) "."
                              "/ssh:host.example:/lib"))
            (should (string-match-p "nil .*`?mailsync-module-directory.*absolute name"
                                    (said name))))
          (set-file-modes file #o646)
          (should (string-match-p (concat "nil .*anybody may write to "
                                          (regexp-quote file))
                                  (said directory)))
          (set-file-modes file #o644)
          (set-file-modes directory #o1777)
          (should (string-match-p (concat "nil .*anybody may write to "
                                          (regexp-quote directory) "/ ")
                                  (said directory)))
          (set-file-modes directory #o755)
          (should (equal "" (said directory))))
      (delete-directory directory t))))

(ert-deftest mailsync-module-needs-support ()
  "An Emacs without modules is told apart."
  (let ((module-file-suffix nil))
    (should (string-match-p "no support for modules"
                            (cadr (should-error (mailsync-module-load)
                                                :type 'mailsync-module-error))))))

(ert-deftest mailsync-module-compile-needs-a-toolchain ()
  "Without cargo the command says where to get it; without sources, that."
  (let ((exec-path nil))
    (should (string-match-p "rustup"
                            (cadr (should-error (mailsync-module-compile)
                                                :type 'mailsync-module-error)))))
  (let ((mailsync-module--lisp-directory temporary-file-directory))
    (should (string-match-p "sources"
                            (cadr (should-error (mailsync-module-compile)
                                                :type 'mailsync-module-error))))))

;; Security: S64.
(ert-deftest mailsync-module-loading-the-lisp-does-nothing ()
  "Requiring mailsync loads neither Gnus nor the module, and adds no hook."
  (with-temp-buffer
    (test-emacs "--eval" "(setq before (list kill-emacs-hook timer-list (process-list)))"
                "--eval" "(require 'mailsync)"
                "--eval" "(princ (list (featurep 'gnus) (fboundp 'mailsync-module--version)
                              (equal before (list kill-emacs-hook timer-list (process-list)))))")
    (should (equal (buffer-string) "(nil nil t)"))))

(defun module-test-upgrade (&rest forms)
  "What FORMS print in an Emacs that watches, with a module in a directory of its own.
There they may call (replace), which puts another file in the module's place,
as an upgrade does, and (said), the value of which is what the log has said of
restarting Emacs, as a list of lines."
  (let ((directory (make-temp-file "mailsync-module" t)))
    (unwind-protect
        (with-temp-buffer
          (dolist (suffix (list module-file-suffix ".version"))
            (copy-file (mailsync-module--file suffix)
                       (expand-file-name (concat "mailsync-engine" suffix) directory)))
          (make-directory (expand-file-name "home/Maildir" directory) t)
          (let ((process-environment (append (list (concat "HOME=" directory "/home")
                                                   (concat "MODULE_DIR=" directory))
                                             process-environment)))
            (apply #'test-emacs
                   "--eval" "(require 'mailsync)"
                   "--eval" "(setq mailsync-module-directory (getenv \"MODULE_DIR\")
                                   inhibit-message t)"
                   "--eval" "(defun replace ()
                               (let* ((file (mailsync-module--file))
                                      (new (concat file \".new\")))
                                 (copy-file file new)
                                 (rename-file new file t)))"
                   "--eval" "(defun said ()
                               (with-current-buffer (mailsync-log--get)
                                 (seq-filter (lambda (line) (string-match-p \"restart Emacs\" line))
                                             (split-string (buffer-string) \"\n\"))))"
                   "--eval" "(setq mailsync-accounts '((\"mail\" :maildir \"~/Maildir\")))"
                   "--eval" "(mailsync-mode 1)"
                   (mapcan (lambda (form) (list "--eval" (prin1-to-string form)))
                           forms)))
          (buffer-string))
      (delete-directory directory t))))

(ert-deftest mailsync-module-unload ()
  "Who unloads mailsync while it is on has stopped it."
  (dolist (feature '(mailsync mailsync-life))
    (should (string-suffix-p
             "(t nil)"
             (module-test-upgrade
              '(setq pipes (length (process-list)))
              `(unload-feature ',feature t)
              '(princ (list (> pipes 0) (process-list))))))))

(ert-deftest mailsync-module-upgrade-is-noticed ()
  "A module that was replaced is said once, and the one that is loaded goes on."
  (should (equal (module-test-upgrade
                  '(princ (list (mailsync-module-outdated) (said)))
                  '(progn (mailsync-restart) (mailsync-stop) (mailsync-start))
                  '(princ (list (mailsync-module-outdated) (said))))
                 "(nil nil)(nil nil)"))
  (should (string-match-p
           "\\`another module was put in the place of the loaded one t 1 1 2\\'"
           (module-test-upgrade
            '(replace)
            '(mailsync-restart)
            '(princ (format "%s %s %s" (mailsync-module-outdated)
                            (and mailsync-mode (process-live-p mailsync--pipe) t)
                            (length (said))))
            '(progn (mailsync-stop) (mailsync-start)
                    (princ (format " %s" (length (said)))))
            '(replace)
            '(progn (mailsync-restart)
                    (princ (format " %s" (length (said)))))))))

(ert-deftest mailsync-module-newer-lisp-is-noticed ()
  "Lisp of another version than the loaded module's says so, and breaks nothing.
That is what a package manager leaves that loads an upgrade at once."
  (let ((said (module-test-upgrade
               '(setq mailsync-module--version-wanted "99.0.0")
               '(condition-case err (mailsync-restart)
                  (error (princ (format "%s %s %s" mailsync-mode
                                        (and (process-live-p mailsync--pipe) t)
                                        (error-message-string err)))))
               '(progn (mailsync--engine-ended "a test")
                       (princ (format " | %S" mailsync--troubles))))))
    (should (string-match-p "\\`t t .*want 99\\.0\\.0; restart Emacs" said))
    (should (string-match-p "| .*the engine ended (a test): .*99\\.0\\.0; restart Emacs\"" said))))

(provide 'mailsync-module-test)
;;; mailsync-module-test.el ends here

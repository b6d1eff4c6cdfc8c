;;; mailsync-load-test.el --- What there is after nothing but (require 'mailsync)  -*- lexical-binding: t -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Each in an Emacs of its own, which has loaded nothing else.

;;; Code:

(require 'mailsync-test-helper)

(defconst load-test-manual
  (expand-file-name "../../README.org" (file-name-directory
                                        (or load-file-name buffer-file-name)))
  "The manual.")

(defun load-test-say (&rest forms)
  "The value that the last of FORMS has in an Emacs of its own."
  (with-temp-buffer
    (let ((status (test-emacs "--eval" (format "%S" `(setq inhibit-message t))
                              "--eval" (format "%S" `(let ((value (progn ,@forms))
                                                           (print-escape-newlines t))
                                                       (terpri)
                                                       (prin1 value))))))
      (unless (eq status 0)
        (error "It ended with %s: %s" status (buffer-string))))
    ;; What somebody would have been asked is above.
    (goto-char (point-max))
    (forward-line 0)
    (read (current-buffer))))

(defun load-test-libraries ()
  "The libraries of mailsync, symbols."
  (mapcar (lambda (file) (intern (file-name-base file)))
          (directory-files mailsync-module--lisp-directory nil "\\`mailsync.*\\.el\\'")))

(defun load-test-named ()
  "Symbols that the manual names and that begin as ours do."
  (with-temp-buffer
    (insert-file-contents load-test-manual)
    (let ((case-fold-search nil) (names nil))
      (while (re-search-forward "[^a-zA-Z0-9/_.-]\\(mailsync[-/][a-z/-]*[a-z]\\)" nil t)
        (push (intern (match-string 1)) names))
      (delete-dups names))))

(defun load-test-all-options ()
  "All options, whether the manual names them or not."
  (let ((options nil))
    (dolist (file (directory-files mailsync-module--lisp-directory t "\\`mailsync.*\\.el\\'"))
      (with-temp-buffer
        (insert-file-contents file)
        (while (re-search-forward "^(defcustom \\([^ \n]+\\)" nil t)
          (push (intern (match-string 1)) options))))
    options))

(ert-deftest mailsync-load-brings-little ()
  "Requiring mailsync loads its options and its menu; nothing of Emacs's, seq and subr-x neither.
That is what keeps it short: each other file takes longer than those."
  (pcase-let ((`(,before ,after) (load-test-say '(defvar before features)
                                                '(require 'mailsync)
                                                '(list before features))))
    (should (equal (sort (seq-difference after before) #'string<)
                   '(mailsync mailsync-menu mailsync-options)))))

(ert-deftest mailsync-load-has-all-names ()
  "What the manual names is there: each command, each function, each option."
  (mapc #'require (load-test-libraries))
  (let* ((named (load-test-named))
         ;; It names the option, which a key's command is called like.
         (commands (remq 'mailsync-status-folders (seq-filter #'commandp named)))
         (functions (remq 'mailsync-status-folders (seq-filter #'fboundp named)))
         (options (seq-filter #'custom-variable-p named)))
    ;; If the manual was read.
    (should (> (length commands) 15))
    (should (> (length options) 30))
    (should (equal (load-test-say
                    '(require 'mailsync)
                    `(list (delq nil (mapcar (lambda (it) (and (not (commandp it)) it)) ',commands))
                           (delq nil (mapcar (lambda (it) (and (not (fboundp it)) it)) ',functions))
                           (delq nil (mapcar (lambda (it) (and (not (custom-variable-p it)) it))
                                             ',options))))
                   '(nil nil nil)))))

(ert-deftest mailsync-load-has-all-commands ()
  "What a package manager would autoload is there, too."
  (let ((names nil))
    (dolist (file (directory-files mailsync-module--lisp-directory t "\\`mailsync.*\\.el\\'"))
      (with-temp-buffer
        (insert-file-contents file)
        (while (re-search-forward
                "^;;;###autoload\\(?: (autoload '\\|\n([a-z-]+ '?\\)\\([^ \n]+\\)" nil t)
          (push (intern (match-string 1)) names))))
    (should (> (length names) 20))
    (should-not (load-test-say
                 '(require 'mailsync)
                 `(delq nil (mapcar (lambda (it) (and (not (fboundp it)) it)) ',names))))))

(defun load-test-first (prefix &rest commands)
  "What goes wrong where COMMANDS are all that is called after loading, the last one with PREFIX.
That the user is told, or asked, something is right."
  (load-test-say
   ;; None of it is the user's.
   '(setenv "MAILDIR" "/nowhere")
   '(require 'mailsync)
   `(condition-case err
        (progn
          (mapc #'call-interactively ',(butlast commands))
          (let ((current-prefix-arg ',prefix))
            (call-interactively ',(car (last commands))))
          (when mailsync-mode
            (mailsync-mode -1))
          nil)
      (user-error nil)
      (end-of-file nil)                 ; asked
      (error err))))

(ert-deftest mailsync-load-commands-work ()
  "Each command that changes nothing can be the first that is called.
It does what it is for, or says what is the matter, and meets nothing that is not loaded."
  (pcase-dolist (`(,prefix . ,commands)
                 '((nil mailsync-check) ((4) mailsync-check) (nil mailsync-folders)
                   (nil mailsync-gnus-check) (nil mailsync-history) (nil mailsync-log)
                   (nil mailsync-log-copy) (nil mailsync-output) (nil mailsync-pause)
                   ((4) mailsync-pause) (nil mailsync-restart) (nil mailsync-resume)
                   ((4) mailsync-resume) (nil mailsync-status) (nil mailsync-stop)
                   (nil mailsync-sync) ((4) mailsync-sync) (nil mailsync-version)
                   ;; Keys.
                   (nil mailsync-status mailsync-status-check)
                   (nil mailsync-status mailsync-status-folders)
                   (nil mailsync-status mailsync-status-output)
                   (nil mailsync-status mailsync-status-pause)
                   (nil mailsync-status mailsync-status-sync)
                   (nil mailsync-history mailsync-status-resume)
                   (nil mailsync-log mailsync-log-show)))
    (should (equal (list commands prefix (apply #'load-test-first prefix commands))
                   (list commands prefix nil)))))

(ert-deftest mailsync-load-runs-a-syncer-of-no-account ()
  "`mailsync-run', which needs no `mailsync-mode', can be the first that is called."
  (should (equal 'config
                 (load-test-say
                  '(require 'mailsync)
                  '(let (result)
                     (mailsync-run '(mailsync-mbsync "x" :config "/dev/null") nil
                                   (lambda (it) (setq result it)))
                     (with-timeout (60)
                       (while (null result)
                         (accept-process-output nil 0.05)))
                     (plist-get result :status))))))

(ert-deftest mailsync-load-keeps-what-was-set ()
  "An option that was set before anything was loaded stays as it was set, by `setq' and by Customize."
  (let ((options (load-test-all-options))
        (libraries (load-test-libraries)))
    (should (> (length options) 30))
    (dolist (set (list `(dolist (option ',options) (set option '(mine)))
                       `(apply #'custom-set-variables
                               (mapcar (lambda (option) (list option ''(mine))) ',options))))
      (should-not (load-test-say
                   set
                   '(require 'mailsync)
                   `(mapc #'require ',libraries)
                   `(delq nil (mapcar (lambda (option)
                                        (and (not (equal (symbol-value option) '(mine))) option))
                                      ',options)))))))

(ert-deftest mailsync-load-shows-all-in-customize ()
  "M-x customize-group RET mailsync has each option, and loads nothing for it."
  (should-not
   (load-test-say
    '(require 'mailsync)
    '(require 'cus-edit)
    '(defun all (group)
       (apply #'append
              (mapcar (lambda (member)
                        (if (eq (cadr member) 'custom-group) (all (car member)) (list (car member))))
                      (custom-group-members group nil))))
    `(delq nil (mapcar (lambda (option) (and (not (memq option (all 'mailsync))) option))
                       ',(cons 'mailsync-mode (load-test-all-options)))))))

(ert-deftest mailsync-load-groups-in-customize ()
  "What is used most is in the first group; Customize has the rest a step further."
  (pcase-let ((`(,options ,groups)
               (load-test-say
                '(require 'mailsync)
                '(let ((of (lambda (type)
                             (delq nil (mapcar (lambda (member)
                                                 (and (eq (cadr member) type) (car member)))
                                               (get 'mailsync 'custom-group))))))
                   (list (funcall of 'custom-variable) (funcall of 'custom-group))))))
    (should (equal (sort options #'string<)
                   '(mailsync-accounts mailsync-ignore-folders mailsync-listen mailsync-mode
                                       mailsync-module-directory mailsync-sync-at-start)))
    (should (equal (sort groups #'string<)
                   '(mailsync-delays mailsync-display mailsync-faces mailsync-gnus
                                     mailsync-hooks mailsync-notify)))))

(provide 'mailsync-load-test)
;;; mailsync-load-test.el ends here
